"""Settings become options, and options and files settings."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from facesync import cli
from facesync.errors import FileError, UsageError
from facesync.options import add_options, option, override, parse_settings, positive_int


@dataclass(frozen=True, kw_only=True)
class Settings:
    data: Path = option(help="what it works on", metavar="DIR", group="data")
    epochs: int = option(3, "passes", parse=positive_int, group="training")
    rates: tuple[float, ...] = option((), "some numbers")
    kind: str = option("plain", "of what kind", choices=("plain", "fancy"))
    limit: float | None = option(None, "at most", shown_default="none")
    preset: str = option("paper", "where the rest starts from", choices=("paper", "best"))
    mirror: bool = option(False, "mirror too", both=True)
    encrypt: bool = option(True, "leave it open", flag="--no-encrypt")
    resume: bool = option(False, "resume", kept=False)
    batch_size: int = option(16, "at once")


@dataclass(frozen=True, kw_only=True)
class More(Settings):
    epochs: int = override(Settings, "epochs", 5)


PRESETS = {"paper": {}, "best": {"epochs": 9, "mirror": True}}


def parsed(*argv, settings=Settings):
    parser = cli.parser("A test.")
    add_options(parser, settings, groups=("training", "data"))
    return parse_settings(parser, settings, list(map(str, argv)), PRESETS)


def test_defaults_are_the_fields_own():
    assert parsed("--data", "x") == Settings(data=Path("x"))


def test_what_is_typed_becomes_values():
    given = parsed(
        "--data", "x", "--epochs", 7, "--rates", 1, "2.5", "--kind", "fancy", "--limit", 3,
        "--no-encrypt", "--resume", "--mirror",
    )  # fmt: skip
    assert given == Settings(
        data=Path("x"), epochs=7, rates=(1.0, 2.5), kind="fancy", limit=3.0, encrypt=False,
        resume=True, mirror=True,
    )  # fmt: skip


def test_an_inherited_setting_has_another_default_and_the_same_checks(capsys):
    assert parsed("--data", "x", settings=More).epochs == 5
    with pytest.raises(SystemExit):
        parsed("--data", "x", "--epochs", "0", settings=More)
    assert "--epochs: 0 is not 1 or more" in capsys.readouterr().err


def test_a_preset_beats_defaults_and_the_command_line_beats_both():
    assert parsed("--data", "x", "--preset", "best").epochs == 9
    given = parsed("--data", "x", "--preset", "best", "--epochs", "2", "--no-mirror")
    assert (given.epochs, given.mirror) == (2, False)


def test_what_is_required_may_come_from_a_file(tmp_path, capsys):
    file = tmp_path / "run.toml"
    file.write_text('data = "pack"\nepochs = 4\nrates = [1, 2]\nencrypt = false\n')
    given = parsed("--config", file, "--epochs", "6")
    assert given == Settings(data=Path("pack"), epochs=6, rates=(1.0, 2.0), encrypt=False)
    with pytest.raises(SystemExit) as error:
        parsed()
    assert error.value.code == 2
    assert "the following arguments are required: --data" in capsys.readouterr().err


def test_a_file_beats_the_preset_and_may_name_it(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('preset = "best"\ndata = "x"\n')
    assert parsed("--config", file).epochs == 9
    file.write_text('preset = "best"\ndata = "x"\nepochs = 4\n')
    assert parsed("--config", file).epochs == 4


def test_settings_of_a_run_are_a_file_too(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(
        '{"settings": {"data": "x", "epochs": 8, "limit": null, "resume": true, "other": 1},'
        ' "versions": {}}'
    )
    assert parsed("--config", file) == Settings(data=Path("x"), epochs=8)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch = 3", "epoch is not an option here"),
        ("epochs = 0", "epochs cannot be 0"),
        ("epochs = 1.5", "epochs cannot be 1.5"),
        ("epochs = true", "epochs cannot be True"),
        ("epochs = [1]", "epochs cannot be"),
        ("rates = 1", "rates cannot be 1"),
        ("rates = [[1]]", "rates cannot be [[1]]"),
        ("epochs = 0x" + "f" * 5000, "epochs has too many digits"),
        (r'data = "a\u0000b"', "data cannot be 'a\\x00b'"),
        ("batch-size = 1\nbatch_size = 2", "batch_size is given twice"),
        (r'"a\nb" = 1', r"'a\nb' is not an option here"),
        ("resume = 1", "resume is 1, neither true nor false"),
        ('kind = "odd"', "kind is 'odd'; choose one of plain, fancy"),
    ],
)
def test_a_file_passes_the_same_checks(tmp_path, text, says):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"run\.toml") as error:
        parsed("--data", "x", "--config", file)
    assert says in str(error.value)


@pytest.mark.parametrize("name", ["no.toml", "folder.toml", "bad.toml", "bad.json", "list.json"])
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, name):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    (tmp_path / "bad.json").write_bytes(b"\xff{")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(FileError, match=re.escape(name)) as error:
        parsed("--data", "x", "--config", tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_file_of_another_editor_is_read(tmp_path):
    file = tmp_path / "run.toml"
    file.write_bytes(b'\xef\xbb\xbfepochs = 4\r\ndata = "x"\r\n')
    assert parsed("--config", file).epochs == 4


def test_a_file_without_an_end_is_refused():
    with pytest.raises(FileError, match="too large"):
        parsed("--config", "/dev/zero")


def test_help_names_defaults_and_groups(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    out = " ".join(capsys.readouterr().out.split())
    assert "passes (default: 3)" in out and "at most (default: none)" in out
    assert out.index("training:") < out.index("data:")
    assert "mirror too (default" not in out and "some numbers (default" not in out
