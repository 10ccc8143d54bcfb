"""An image whose `dtool-operator` only plays a worker: what it does is the fingerprint of its task."""

from __future__ import annotations

from pathlib import Path

from sandbox.cluster.debian import find_container_programs
from sandbox.cluster.image import ImageSource, compose_tools_image, write_image

IMAGE = "localhost/play-worker:1"
FACTS = (
    '{"type":"result","facts":{"name":"sample","creator_username":"x","created_at":null,"frozen_at":null,'
    '"items":3,"size_bytes":30,"etag_md5":0,"read":3,"same_as_source":0,"unproven":0}}'
)
SCRIPT = f"""#!/bin/sh
[ "$1" = transfer ] && [ "$2" = - ] || exit 64
# what it says first proves the document arrived, dollars and all
echo '{{"type":"progress","phase":"Copying","items":1,"items_total":3,"bytes":10,"bytes_total":30}}'
trap 'exit 143' TERM
case "$DTOOL_TASK" in
  *'"fingerprint":"memory"'*) exec tail /dev/zero ;;
  *'"fingerprint":"wait"'*) until [ -e /volume/end ]; do sleep 0.2; done ;;
  *'"fingerprint":"costs $(HOME) $$"'*) ;;
  *'"fingerprint":"volume"'*) touch /volume/mine && ! touch /mine 2>/dev/null || exit 65 ;;
  *) exit 66 ;;
esac
echo '{FACTS}'
"""


def write_play_worker(path: Path) -> Path:
    """Write the image as an archive that a node loads."""
    tools = compose_tools_image(find_container_programs().busybox, IMAGE)
    files = {**tools.files, "bin/dtool-operator": SCRIPT.encode()}
    source = ImageSource(IMAGE, files, ("/bin/dtool-operator",), tools.links, tools.folders)
    return write_image(path, source)
