"""The part of the broker that gives out URLs: publishing over HTTP and signed URLs, by upstream's names."""

from typing import Any

from dtool_s3.blocking import run
from dtool_s3.broker.texts import TextBroker
from dtool_s3.errors import NotSupported
from dtool_s3.publication.contents import read_contents
from dtool_s3.publication.publishing import http_manifest, publish, unpublish
from dtool_s3.publication.signing import (
    EXPIRY_SECONDS,
    read_url_of,
    sign_dataset,
    sign_item_write,
    sign_write,
)
from dtool_s3.store.protocol import UrlStore


class UrlBroker(TextBroker):
    """URLs of one dataset and of what is in it."""

    def http_enable(self) -> str:
        """Publish the frozen dataset and return its access URL; see `dtool_s3.publication.publishing`.

        DTOOL_S3_PUBLISH_EXPIRY, if set, says for how many seconds; else it is public until `http_disable`.
        """
        expiry = self._configuration.publish_expiry_seconds
        return run(publish(self._url_store, self.layout, expires_seconds=expiry))

    def http_disable(self) -> None:
        """Take back `http_enable`; see `dtool_s3.publication.publishing.unpublish`."""
        run(unpublish(self._url_store, self.layout))

    def _generate_http_manifest(self, expiry: int | None) -> dict[str, Any]:
        """Return http_manifest.json with URLs signed for `expiry` seconds, or unsigned; publishes nothing."""
        store, layout = self._url_store, self.layout

        async def public_url_of(key: str) -> str:
            return store.public_url(key)

        async def generate() -> dict[str, Any]:
            contents = await read_contents(store, layout)
            return await http_manifest(contents, read_url_of(store, expiry) if expiry else public_url_of)

        return run(generate())

    def supports_signing(self) -> bool:
        """Tell whether URLs can be signed here."""
        return isinstance(self.store, UrlStore)

    def generate_signed_read_url(self, key: str, expiry_seconds: int = EXPIRY_SECONDS) -> str:
        """Return a URL to GET `key`. Raises SettingsError above 7 days."""

        async def sign() -> str:
            return await read_url_of(self._url_store, expiry_seconds)(key)

        return run(sign())

    def generate_signed_write_url(self, key: str, expiry_seconds: int = EXPIRY_SECONDS) -> str:
        """Return a URL to PUT a text (README, overlay, annotation, tag) to `key`.

        Raises NotSupported for other keys; for items `generate_signed_item_write_url` is meant.
        """
        self._check_key(key)
        return run(sign_write(self._url_store, key, expiry_seconds))

    def generate_signed_item_write_url(
        self, relpath: str, md5_hexdigest: str, expiry_seconds: int = EXPIRY_SECONDS
    ) -> tuple[str, dict[str, str]]:
        """Return a URL to PUT one item of a proto dataset and the headers that the request must carry."""
        return run(sign_item_write(self._url_store, self.layout, relpath, md5_hexdigest, expiry_seconds))

    def generate_dataset_signed_urls(self, expiry_seconds: int = EXPIRY_SECONDS) -> dict[str, Any]:
        """Return URLs to read everything of a frozen dataset; see `dtool_s3.publication.signing`."""
        return run(sign_dataset(self._url_store, self.layout, expiry_seconds))

    @property
    def _url_store(self) -> UrlStore:
        if not isinstance(self.store, UrlStore):
            raise NotSupported(f"the store of {self._uri} makes no URLs")
        return self.store
