"""A target profile is read whole or refused in one line that names the mistake and the near word."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.errors import BadInput
from pilotfish.targets import load_target, shipped_targets
from pilotfish.targets.profile import TARGET, near, validated

GOOD = """
name = "mine"
description = "A board"
backends = ["c"]
[cpu]
isa = "thumbv7em"
core = "cortex-m4"
clock_hz = 100e6
[link]
kind = "virtual"
[cost]
table = "cortex-m4"
flash_wait_states = 3
"""


def written(folder, text):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(shipped_targets()))
def test_every_shipped_profile_loads_by_name_and_by_path_and_survives_a_round_trip(name):
    target = load_target(name)
    assert target.name == name
    assert load_target(shipped_targets()[name]) == target
    assert validated(TARGET, TARGET.dump_python(target, mode="json"), "artifact.json") == target


def test_a_profile_of_the_users_own_loads_by_path(tmp_path):
    target = load_target(written(tmp_path, GOOD))
    assert (target.name, target.cpu.clock_hz, target.cost.flash_wait_states) == ("mine", 100e6, 3)
    assert target.control.hz == 50.0  # unsaid: the default


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("clock_hz", "clok_hz", "'cpu.clok_hz'. Did you mean 'clock_hz'"),
        ("backends", "backend", "Did you mean 'backends'"),
        ("flash_wait_states", "flash_waitstates", "Did you mean 'flash_wait_states'"),
        ("clock_hz = 100e6", 'clock_hz = "fast"', "cpu.clock_hz.*fast"),
        ("clock_hz = 100e6", "clock_hz = -1", "greater than 0"),
        ('kind = "virtual"', 'kind = "telepathy"', "'local', 'virtual', 'ssh', 'serial', 'agent'"),
        ('kind = "virtual"', 'kind = "ssh"', "the key 'link.ssh.host'"),
        ('kind = "virtual"', 'kind = "ssh"\nhost = "pi"\nusr = "pi"', "Did you mean 'user'"),
        ('backends = ["c"]', "backends = []", "backends"),
        ('backends = ["c"]', 'backends = ["glow"]', "glow"),
        ('name = "mine"', 'name = "../mine"', "name"),
        ('description = "A board"', "", "the key 'description', found none"),
        ("flash_wait_states = 3", "flash_wait_states = 2.5", "flash_wait_states"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path, old, new, message):
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(BadInput, match=message) as caught:
        load_target(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    "cost, message",
    [
        ("cpi = [1, 2, 3]", "needs a source"),
        ('cpi = [3, 2, 1]\nsource = "x"', "low <= typical <= high"),
        ('cpi = [0, 1, 2]\nsource = "x"', "above 0"),
        ('cpi = [1, nan, 2]\nsource = "x"', "low <= typical <= high"),
        ('cpi = [1, 2]\nsource = "x"', "cpi"),
        ('cpi = [1, 2, 3]\nsource = "x"\nflash_wait_states = 2', "leave flash_wait_states out"),
        ('cpi = [1, 2, 3]\nsource = "x"\ntable = "cortex-m4"', "not both"),
        ('table = "cortex-m4"\nsource = "x"', "source belongs to cpi"),
        ("flash_line_bytes = 8", "either table or cpi"),
        ('cpi = [1, 2, 3]\nsorce = "x"', "Did you mean 'source'"),
    ],
)
def test_a_cost_is_a_table_or_a_published_band(tmp_path, cost, message):
    with pytest.raises(BadInput, match=message) as caught:
        load_target(written(tmp_path, GOOD.partition("[cost]")[0] + "[cost]\n" + cost))
    assert "\n" not in str(caught.value)
    band = load_target(written(tmp_path, GOOD.partition("[cost]")[0] + '[cost]\ncpi = [1, 1.5, 2]\nsource = "a paper"')).cost
    assert (band.table, band.cpi, band.source) == ("", (1.0, 1.5, 2.0), "a paper")


def test_unknown_names_and_missing_files_suggest_what_there_is(tmp_path):
    with pytest.raises(BadInput, match="Did you mean 'crazyflie'"):
        load_target("crazyfly")
    with pytest.raises(BadInput, match=r"Known: crazyflie, .*esp32-c3, .*host-cpu, .*nucleo-g0b1re, "):
        load_target("zzz")
    with pytest.raises(BadInput, match="neither"):
        load_target(tmp_path / "none.toml")
    (tmp_path / "board.json").write_text("{}")
    with pytest.raises(BadInput, match=r"path of a \.toml profile"):
        load_target(tmp_path / "board.json")


def test_broken_toml_says_where(tmp_path):
    with pytest.raises(BadInput, match="line 2"):
        load_target(written(tmp_path, 'name = "mine"\nbackends = [c]\n'))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(BadInput, match="TOML"):
        load_target(tmp_path / "bytes.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(BadInput):
        load_target(tmp_path / "folder.toml")


WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | WORDS, lambda c: st.lists(c, max_size=3) | st.dictionaries(WORDS, c, max_size=3)
    )
)
def test_any_data_is_a_target_or_bad_input(data):
    for broken in (data, tomllib.loads(GOOD) | {"cpu": data}, tomllib.loads(GOOD) | {"cost": data}):
        try:
            validated(TARGET, broken, "somewhere")
        except BadInput as error:
            assert "\n" not in str(error)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=5))
def test_near_says_something_true(word, known):
    text = near(word, known)
    assert any(k in text for k in known)
