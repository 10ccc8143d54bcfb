"""S3 storage broker library for dtool: byte-compatible with upstream dtool-s3, without its data loss.

This module owns the public names; each loads what it needs when it is first asked for, so that importing the
package costs nothing (no client, no dtoolcore, no network). `dtool_s3.sync` has the functions in their
blocking form.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dtool_s3.api import (
        CopiedDataset,
        abort_uploads,
        copy,
        freeze,
        ingest,
        list_datasets,
        publish,
        register,
        remove,
        unpublish,
        verify,
    )
    from dtool_s3.catalog import Catalog, CatalogEntry, EntryState
    from dtool_s3.configuration import Configuration, close_stores, read_configuration
    from dtool_s3.errors import DtoolS3Error
    from dtool_s3.settings import Addressing, ConditionalWrites, Credentials, Encryption, Endpoint, Secret
    from dtool_s3.transfer.engine import CopyResult
    from dtool_s3.transfer.progress import Phase, Progress
    from dtool_s3.transfer.verify import Verification, VerifiedDataset, VerifyMethod

__all__ = [
    "Addressing",
    "Catalog",
    "CatalogEntry",
    "ConditionalWrites",
    "Configuration",
    "CopiedDataset",
    "CopyResult",
    "Credentials",
    "DtoolS3Error",
    "Encryption",
    "Endpoint",
    "EntryState",
    "Phase",
    "Progress",
    "Secret",
    "Verification",
    "VerifiedDataset",
    "VerifyMethod",
    "abort_uploads",
    "close_stores",
    "copy",
    "freeze",
    "ingest",
    "list_datasets",
    "publish",
    "read_configuration",
    "register",
    "remove",
    "unpublish",
    "verify",
]

_MODULES = {
    "dtool_s3.api": (
        "CopiedDataset",
        "abort_uploads",
        "copy",
        "freeze",
        "ingest",
        "list_datasets",
        "publish",
        "register",
        "remove",
        "unpublish",
        "verify",
    ),
    "dtool_s3.catalog": ("Catalog", "CatalogEntry", "EntryState"),
    "dtool_s3.configuration": ("Configuration", "close_stores", "read_configuration"),
    "dtool_s3.errors": ("DtoolS3Error",),
    "dtool_s3.settings": (
        "Addressing",
        "ConditionalWrites",
        "Credentials",
        "Encryption",
        "Endpoint",
        "Secret",
    ),
    "dtool_s3.transfer.engine": ("CopyResult",),
    "dtool_s3.transfer.progress": ("Phase", "Progress"),
    "dtool_s3.transfer.verify": ("Verification", "VerifiedDataset", "VerifyMethod"),
}
_MODULE_BY_NAME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name == "sync":
        return import_module("dtool_s3.sync")
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_BY_NAME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
