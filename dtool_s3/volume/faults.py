"""What an error of the file system means for a dataset; owns the words, performs no I/O.

Source: errno(3); EDQUOT and ESTALE as NFS and quotas give them.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from dtool_s3.errors import DtoolS3Error, UnsafePath, VolumeFull, VolumeUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
_DENIED = frozenset({errno.EACCES, errno.EPERM})


@contextmanager
def using_volume(place: object) -> Iterator[None]:
    """Turn errors of the file system into VolumeFull, VolumeUnavailable or UnsafePath.

    `place` names the directory. Errors of the object store are no OSErrors any more where this is used.
    """
    try:
        yield
    except OSError as error:
        raise volume_error(error, place) from error


def volume_error(error: OSError, place: object) -> DtoolS3Error:
    """Build the error that says what happened to which file below `place`."""
    number = error.errno or 0
    name = errno.errorcode.get(number, type(error).__name__)
    named = error.filename if isinstance(error.filename, str | bytes) else ""
    file = f" at {os.fsencode(named)[-160:]!r}" if named else ""
    if number in _FULL:
        return VolumeFull(f"{place}: no room is left on the volume ({name}){file}")
    if number in _NAME:
        return UnsafePath(f"{place}: the volume's file system cannot hold such a name ({name}){file}")
    if number in _DENIED:
        return VolumeUnavailable(
            f"{place}: user {os.getuid()} and its groups may not read or write there ({name}){file}"
        )
    if number == errno.EROFS:
        return VolumeUnavailable(f"{place}: the volume is mounted read-only ({name}){file}")
    return VolumeUnavailable(f"{place}: the volume does not answer as it should ({name}){file}")
