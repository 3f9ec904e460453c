"""What the Hub and the network say, in one line."""

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalTokenNotFoundError

from hf_relvit.errors import RelViTError
from hf_relvit.hub.client import check_id, check_ours, create, hub_errors, signed_in
from hf_relvit.hub.publish import send

REPO = "relvit/m"


@pytest.fixture
def ours(hub):
    api = signed_in(REPO)
    create(api, REPO, "model", public=False)
    head = send(
        api,
        REPO,
        "model",
        {"README.md": b"---\ntags: [relvit]\n---\n", "a.bin": b"\0a", "b": b"b"},
        "first",
    )
    return api, head


def test_one_commit_a_push(hub, ours, tmp_path):
    api, head = ours
    assert check_ours(api, REPO, "model", "relvit") == head
    (tmp_path / "c").write_bytes(b"c")
    second = send(
        api,
        REPO,
        "model",
        {"a.bin": b"\0a", "c": tmp_path / "c"},
        "second",
        delete=["b"],
        head=head,
    )
    assert set(api.list_repo_files(REPO)) == {".gitattributes", "README.md", "a.bin", "c"}
    assert [c.title for c in api.list_repo_commits(REPO)] == ["second", "first", "initial commit"]
    assert send(api, REPO, "model", {"a.bin": b"\0a"}, "third", head=second) == second


def test_somebody_else_pushed_meanwhile(ours):
    api, head = ours
    other = send(api, REPO, "model", {"d": b"d"}, "theirs")
    with pytest.raises(RelViTError, match="somebody else pushed at the same time"):
        send(api, REPO, "model", {"e": b"e"}, "mine", head=head)
    assert api.model_info(REPO).sha == other


def test_a_card_that_the_hub_refuses(ours):
    api, head = ours
    with pytest.raises(RelViTError, match=r"relvit/m: the Hub refused \(400: .*license") as caught:
        send(api, REPO, "model", {"README.md": b"---\ntags: [relvit]\nlicense: mine\n---\n"}, "bad")
    assert "\n" not in str(caught.value)
    assert api.model_info(REPO).sha == head


def test_what_is_ours(hub, ours):
    api, _ = ours
    assert check_ours(api, "relvit/none", "model", "relvit") is None
    assert check_ours(api, REPO, "dataset", "relvit") is None  # another repository of that name
    api.create_repo("relvit/new")
    assert (
        check_ours(api, "relvit/new", "model", "relvit") == api.model_info("relvit/new").sha
    )  # empty: anybody's
    with pytest.raises(
        RelViTError, match="relvit/m is another project's: its card lacks the tag relvit-scenes"
    ):
        check_ours(api, REPO, "model", "relvit-scenes")


def test_public_and_private(hub, ours):
    api, _ = ours
    create(api, REPO, "model", public=False)
    assert api.model_info(REPO).private
    create(api, REPO, "model", public=True)
    create(api, REPO, "model", public=False)  # does not hide what others may use
    assert not api.model_info(REPO).private
    create(api, "relvit/s", "space", public=False, space_sdk="gradio")
    assert api.space_info("relvit/s").private


@pytest.mark.parametrize("name", ["relvit/m", "Org-1/a_b.c", "a/b"])
def test_good_names(name):
    assert check_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "m",
        "/m",
        "relvit/",
        "a/b/c",
        "../m",
        "a/..",
        "a/.b",
        "a/b.",
        "a--b/c",
        "a/b c",
        "a/é",
        "a/" + "b" * 96,
    ],
)
def test_bad_names(name):
    with pytest.raises(RelViTError, match="is no name of a repository: write OWNER/NAME"):
        check_id(name)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "your token is unknown or expired"),
        (403, "the Hub forbids it"),
        (404, "not found on the Hub, or private and not yours"),
        (409, "the Hub reports a conflict"),
        (413, r"the Hub refused \(413"),
        (418, r"the Hub refused \(418"),
        (507, r"the Hub had an error \(507\); sent files are kept: run the same command again"),
    ],
)
def test_statuses(hub, status, message):
    hub.fail("GET", "/api/models/relvit/m", status=status)
    with pytest.raises(RelViTError, match=message) as caught, hub_errors(REPO):
        HfApi().model_info(REPO)
    assert "\n" not in str(caught.value)


def test_no_token_in_a_message_and_other_errors_pass():
    secret = "hf_" + "abcdefghijklmnop"
    with pytest.raises(RelViTError) as caught, hub_errors(f"relvit/{secret}"):
        raise LocalTokenNotFoundError(secret)
    assert secret not in str(caught.value)
    with pytest.raises(KeyError), hub_errors(REPO):
        raise KeyError("a bug of ours is no message of the Hub")
    with pytest.raises(RelViTError, match="as it was"), hub_errors(REPO):
        raise RelViTError("as it was")


def test_a_log_has_no_bars_of_transfers(hub, capfd):
    """In a log a bar is lines without end: 30 of them for a push of three files."""
    api = signed_in(REPO)
    create(api, REPO, "model", public=False)
    send(api, REPO, "model", {"a.safetensors": b"\0" * 100_000}, "large")
    assert capfd.readouterr().err == ""
