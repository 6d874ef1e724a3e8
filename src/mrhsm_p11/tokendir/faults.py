"""What can be wrong with the token directory: each is a CKR for the library and a sentence for the operator."""

from __future__ import annotations

from mrhsm_p11.errors import DeviceError, DeviceRemoved, MrhsmError


class DirectoryError(MrhsmError, DeviceError):
    """A file of the token directory cannot be used; the text names it."""


class DirectoryMissing(MrhsmError, DeviceRemoved):
    """The token directory is not there."""


class DirectoryUnsafe(DirectoryError):
    """A symbolic link or special file stands where a plain file or folder belongs."""


class DirectoryBusy(DirectoryError):
    """Another process is writing."""


class FileMissing(DirectoryError):
    """The named file is not there."""


class FileUnreadable(DirectoryError):
    """The named file cannot be read by this process."""


class SaveFailed(DirectoryError):
    """A file could not be written; the old one, if any, is unchanged."""
