"""Errors that a user can cause and mend.

Every message says what was wrong, where, and what to do. The command line prints the message alone and leaves with
`exit_code`; from Python they are ordinary exceptions.
"""


class VideosegError(Exception):
    """Something went wrong that is not a defect of videoseg (a full disk, a lost camera)."""

    exit_code = 1


class InputError(VideosegError):
    """The input cannot be used as given: a missing file, an empty vocabulary, a folder that would be overwritten."""

    exit_code = 2
