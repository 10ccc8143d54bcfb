"""Where and how a bucket's requests go, as a value for another client than botocore's; performs no I/O."""

from collections.abc import Callable
from dataclasses import dataclass

from dtool_s3.settings import Credentials


@dataclass(frozen=True, slots=True)
class Target:
    """A bucket's address, as the AWS chain and the settings decided it.

    `url` is what comes before `/key`, `region` what requests are signed for. `ca_bundle` is the file of the
    authorities that are trusted; None without TLS. `read_credentials` gives the keys as they are now, renewed
    where they end soon: it may take its time, and raises StorageError. `is_direct`: no proxy is between.
    """

    bucket: str
    url: str
    region: str
    ca_bundle: str | None
    read_credentials: Callable[[], Credentials]
    is_direct: bool = True
