"""On which file system a database lies."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC240
from __future__ import annotations

from pathlib import Path

import pytest

from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite import preflight as location
from workflow_server.store.sqlite.exceptions import NetworkFilesystem
from workflow_server.store.sqlite.preflight import check_filesystem, filesystem_of

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
server:/export /mnt/share nfs4 rw 0 0
/dev/vdb /mnt/share/local xfs rw 0 0
//host/c /mnt/my\\040disk cifs rw 0 0
tmpfs /cover tmpfs rw 0 0
me@host: /cover fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/a.db", "ext4"),
        ("/mnt/share/a.db", "nfs4"),
        ("/mnt/share/local/a.db", "xfs"),
        ("/mnt/shared/a.db", "ext4"),
        ("/mnt/my disk/a.db", "cifs"),
        ("/cover/deep/a.db", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_latest_mount_counts(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


async def test_a_network_file_system_is_refused_unless_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/export {tmp_path} nfs rw 0 0\n")
    with pytest.raises(NetworkFilesystem, match="nfs"):
        check_filesystem(tmp_path / "a.db", mounts)
    monkeypatch.setattr(location, "MOUNTS", mounts)
    with pytest.raises(NetworkFilesystem):
        await SqliteWorkflowStore(tmp_path / "a.db").open()
    assert list(tmp_path.iterdir()) == [mounts]
    allowed = SqliteWorkflowStore(tmp_path / "a.db", allow_network_filesystem=True)
    await allowed.open()
    await allowed.close()


def test_where_nothing_is_known_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    check_filesystem(tmp_path / "a.db", tmp_path / "no mounts")
