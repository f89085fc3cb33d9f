"""A URL says where the store is, whatever kind it is; a wrong one is told without its credentials."""

from pathlib import Path

import pytest

from aiki_server.store.address import Address, Kind, Target


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "master"),
    [
        ("redis://store", Kind.NODE, ["store:6379"], ""),
        ("redis://[::1]:7000", Kind.NODE, ["[::1]:7000"], ""),
        ("valkeys://store", Kind.NODE, ["store:6379"], ""),
        ("unix:///run/valkey.sock", Kind.NODE, ["/run/valkey.sock"], ""),
        ("redis+sentinel://a,b:1/main", Kind.SENTINEL, ["a:26379", "b:1"], "main"),
        ("rediss+cluster://u:p@a:1,b:2", Kind.CLUSTER, ["a:1", "b:2"], ""),
    ],
)
def test_each_form_names_its_nodes(url: str, kind: Kind, hosts: list[str], master: str) -> None:
    target = Target.parse(url)
    assert (target.kind, [str(address) for address in target.addresses], target.master) == (
        kind,
        hosts,
        master,
    )
    assert all(address.tls == url.startswith(("rediss", "valkeys")) for address in target.addresses)


def test_a_setting_wins_over_the_url_and_goes_to_every_node() -> None:
    target = Target.parse("redis+cluster://old:one@a:1,b:2", user="new", password="other")
    assert {(one.username, one.password) for one in target.addresses} == {("new", "other")}


def test_files_of_tls_are_named_in_the_query(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    (address,) = Target.parse(f"rediss://store?ca={tmp_path}/ca.pem").addresses
    assert address.ca == f"{tmp_path}/ca.pem"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://u:secret@store", "the store's address is redis://"),
        ("redis://u:secret@a,b", "several hosts"),
        ("redis://u:secret@store:99999", "HOST:PORT"),
        ("redis://u:secret@store/x", "a database is a number"),
        ("redis://u:secret@store?ca=x", "takes none"),
        ("rediss://u:secret@store?ca=/none", "no such file"),
        ("rediss://u:secret@store?color=x", "color: no such parameter"),
        ("redis+sentinel://u:secret@store", "name of the master"),
        ("redis+cluster://u:secret@store/3", "no databases"),
        ("redis://secret@store", "without a password"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        Target.parse(url)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    address = Address(username="me", password="secret")
    assert "secret" not in f"{address!r} {address}"
    target = Target.parse("redis+cluster://me:secret@a")
    assert "secret" not in f"{target!r} {target}"
