"""The run folder on disk.

`manifest` says what a run is, `writer` and `reader` are its two doors; `folder` knows files, `tables` the Parquet
schemas, `id_maps` the encoding of a map, `aggregation` how chunks become one run. Import the modules, not the package:
`writer` and `reader` load pyarrow, which takes half a second.
"""
