"""Byte-pair vocabularies that ship with the models: README.md says where they come from."""
