"""Errors that a user can cause and mend.

Every message says what was wrong, where, and what to do. The command line prints the message alone and leaves with
`exit_code`; from Python they are ordinary exceptions.
"""

import errno

# EFBIG is what a quota by file size (`ulimit -f`) looks like.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class VideosegError(Exception):
    """Something went wrong that is not a defect of videoseg (a full disk, a lost camera)."""

    exit_code = 1


class InputError(VideosegError):
    """The input cannot be used as given: a missing file, an empty vocabulary, a folder that would be overwritten."""

    exit_code = 2


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error of the system says that there is no room left to write."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL
