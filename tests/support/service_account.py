"""The files of a Pod's ServiceAccount, as the kubelet writes and replaces them."""

from pathlib import Path


def write_service_account(directory: Path, *, token: str, ca: str) -> None:
    """Put a token and a CA there; what was there before is replaced in one moment, by a link."""
    version = directory / f"..version-{len(list(directory.glob('..version-*')))}"
    version.mkdir()
    (version / "token").write_text(token)
    (version / "ca.crt").write_text(ca)
    link = directory / "..data.new"
    link.symlink_to(version.name)
    link.rename(directory / "..data")
    for name in ("token", "ca.crt"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
