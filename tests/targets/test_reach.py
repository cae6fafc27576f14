"""A link is settings in a profile or one URL, the same either way, and a URL never holds a secret."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.errors import BadInput
from pilotfish.targets import load_target
from pilotfish.targets.profile import with_link
from pilotfish.targets.reach import LINK, AgentLink, LocalLink, SerialLink, SshLink, link_name, parse_link


@pytest.mark.parametrize(
    "url, settings",
    [
        ("ssh://pi@raspberrypi.local:2222", SshLink(host="raspberrypi.local", user="pi", port=2222)),
        ("ssh://nano", SshLink(host="nano")),
        ("ssh://pi@[fe80::1]:22", SshLink(host="fe80::1", user="pi", port=22)),
        ("ssh://a%40b@host?key=~/.ssh/id&jump=me@gate:23", SshLink(host="host", user="a@b", key="~/.ssh/id", jump="me@gate:23")),
        ("ssh://host?python=", SshLink(host="host", python="")),
        ("serial:///dev/ttyACM0?baud=921600", SerialLink(port="/dev/ttyACM0", baud=921600)),
        ("agent://lab:7788?token_file=/run/token", AgentLink(address="lab:7788", token_file="/run/token")),
        ("local:", LocalLink()),
    ],
)  # fmt: skip
def test_a_url_is_the_settings_of_a_profile(url, settings):
    assert parse_link(url) == settings
    assert LINK.validate_python(dataclasses.asdict(settings)) == settings
    target = with_link(load_target("host-cpu"), url)
    assert target.link == settings and with_link(target, None) is target


@pytest.mark.parametrize(
    "url, message",
    [
        ("ssh://pi:secret@host", "no password in the URL"),
        ("ssh://", "a valid host"),
        ("ssh://host:99999", "URL"),
        ("ssh://host?prot=1", "a valid prot"),
        ("ssh://host?host=other", "URL"),
        ("ssh://host?key=a&key=b", "URL"),
        ("ssh://host/home/pi", "no path"),
        ("ssh://ho%20st?key=a b", "valid"),
        ("serial://?baud=1", "a valid port"),
        ("serial:///dev/x?baud=fast", "a valid baud"),
        ("telnet://host", "telnet"),
        ("raspberrypi.local", "no scheme"),
        ("virtual:", "virtual"),
        ("", "no scheme"),
    ],
)
def test_any_other_url_is_refused_with_examples_and_without_the_secret(url, message):
    with pytest.raises(BadInput, match=message) as caught:
        parse_link(url)
    assert "secret" not in str(caught.value).replace("no secret", "") and "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_link_or_bad_input(text):
    for url in (text, "ssh://" + text, "serial://" + text, "agent://h?" + text):
        try:
            assert link_name(parse_link(url))
        except BadInput as error:
            assert "\n" not in str(error)


def test_a_name_tells_where_and_no_paths_of_keys():
    assert link_name(parse_link("ssh://pi@[::1]:22?key=/secret/place")) == "ssh://pi@[::1]:22"
    assert link_name(parse_link("agent://lab:1?token_file=/secret/place")) == "agent://lab:1"
