"""The user's own file that is joined to results: its forms, and what is wrong with others."""

from pathlib import Path

import pytest

from message_batches.cli.joined_file import FileNotJoined, JoinedFile


def joined(folder: Path, content: bytes, column: str = "id") -> JoinedFile:
    (folder / "data.csv").write_bytes(content)
    return JoinedFile(folder / "data.csv", column)


@pytest.mark.parametrize(
    "content",
    [
        b"id,a\nx,1\ny,2\n",
        b"\xef\xbb\xbfid,a\r\nx,1\r\ny,2",
        b"id;a\nx;1\ny;2\n",
        b"id\ta\nx\t1\ny\t2\n",
        b'"id",a\n\n"x",1\n\n\ny,"2"\n\n',
    ],
)
def test_each_form_is_read(tmp_path: Path, content: bytes) -> None:
    file = joined(tmp_path, content)

    assert (file.columns, file.rows) == (("id", "a"), 2)
    assert (file.cells("y"), file.cells("x"), file.cells("z")) == (["y", "2"], ["x", "1"], None)
    file.close()


def test_cells_may_have_ends_of_lines_quotes_and_any_size(tmp_path: Path) -> None:
    text = 'one\r\ntwo, "quoted"\u2028\x85' + "a" * 200_000
    quoted = text.replace('"', '""')

    file = joined(tmp_path, f'a,id,text\n"{quoted}",x,"\n"\n,y,=1\n'.encode())

    assert file.columns == ("a", "id", "joined_text")
    assert file.cells("x") == [text, "x", "\n"]
    assert file.cells("y") == ["", "y", "=1"]
    file.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'id'"),
        (b"key,a\nx,1\n", "'key', 'a'"),
        (b"id,a,a\nx,1,2\n", "two columns 'a'"),
        (b"id,text,joined_text\nx,1,2\n", "two columns 'joined_text'"),
        (b"id,a\nx,1\ny,2\nx,3\n", "line 4: 'x'"),
        (b'id,a\nx,"1\n2"\ny\n', "line 4: 1 cells"),
        (b"id,a\nx,1,2\n", "line 2: 3 cells"),
        (b"id,a\nx,caf\xe9\n", "line 2: not UTF-8"),
        ("id,a\nx,1\n".encode("utf-16"), "line 1: not UTF-8"),
        (b'id,a\nx,"1\n', "line 2: not CSV"),
        (b'id,a\nx,"1"2\n', "line 2: not CSV"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(FileNotJoined, match=said):
        joined(tmp_path, content)


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    file = joined(tmp_path, b"id,a\nx,1\n")
    (tmp_path / "data.csv").write_bytes(b"id,a,b\ny,2,3\n")

    with pytest.raises(FileNotJoined, match="changed"):
        file.cells("x")
    file.close()
    with pytest.raises(FileNotJoined, match="cannot be read"):
        JoinedFile(tmp_path / "none.csv", "id")
    with pytest.raises(FileNotJoined, match="not a regular file"):
        JoinedFile(tmp_path, "id")
