"""The local Hub speaks the protocol of the real one, and refuses what that refuses."""

import base64
import hashlib
import http.client
import inspect
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_server import Hub
from hub_server.checks import card_errors
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    ModelCard,
    constants,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

BIG = bytes(range(256)) * 40  # binary, so a large file


@pytest.fixture
def api(hub):
    return HfApi(hub.url, token="local-relvit")


@pytest.fixture
def repo(api):
    """A model with a small file, a large one and a folder."""
    api.create_repo("relvit/m")
    files = {"a.txt": b"one\n", "weights.safetensors": BIG, "sub/deep/b.txt": b"two\n"}
    api.create_commit(
        "relvit/m",
        [CommitOperationAdd(name, content) for name, content in files.items()],
        commit_message="first",
    )
    return "relvit/m"


def call(hub, method, path, body=None, token="local-relvit", **headers):
    """A request by hand: (status, headers, body)."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if isinstance(body, dict | list):
        body = json.dumps(body).encode()
    request = urllib.request.Request(hub.url + path, body, headers, method=method)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


def ndjson(*lines):
    return b"".join(
        json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in lines
    )


def test_accounts(hub):
    user = HfApi(hub.url, token="local-relvit").whoami()
    assert (user["name"], user["orgs"][0]["name"]) == ("relvit", "relvit-lab")
    for token in ("local-expired", "hf_unknown"):
        with pytest.raises(HfHubHTTPError) as caught:
            HfApi(hub.url, token=token).whoami()
        assert caught.value.response.status_code == 401
    assert call(hub, "GET", "/api/whoami-v2", token=None)[0] == 401


def test_create_and_delete(api):
    assert (
        api.create_repo("relvit/x", repo_type="dataset", private=True)
        == f"{api.endpoint}/datasets/relvit/x"
    )
    api.create_repo("relvit/x", repo_type="dataset", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="You already created this repo"):
        api.create_repo("relvit/x", repo_type="dataset")
    assert api.repo_exists("relvit/x", repo_type="dataset")
    assert not api.repo_exists("relvit/x")  # a model of that name is another repository
    api.create_repo("relvit/s", repo_type="space", space_sdk="gradio")
    assert api.space_info("relvit/s").sdk == "gradio"
    api.delete_repo("relvit/x", repo_type="dataset")
    assert not api.repo_exists("relvit/x", repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("relvit/x", repo_type="dataset")


@pytest.mark.parametrize(
    "name", ["a--b", "a..b", "..", "x.git", "-x", "a b", "ü", "a" * 97, "", None, 3]
)
def test_bad_names(hub, name):
    assert call(hub, "POST", "/api/repos/create", {"name": name, "type": "model"})[0] == 400


@pytest.mark.parametrize(
    ("token", "owner", "status"),
    [
        (None, "relvit", 401),
        ("local-expired", "relvit", 401),
        ("local-other", "relvit", 403),
        ("local-reader", "relvit", 403),
        ("local-relvit", "other", 403),
        ("local-relvit", "relvit-lab", 200),
    ],
)
def test_who_may_create(hub, token, owner, status):
    body = {"name": "x", "organization": owner, "type": "dataset"}
    assert call(hub, "POST", "/api/repos/create", body, token=token)[0] == status


def test_wrong_types(hub, api, repo):
    assert call(hub, "POST", "/api/repos/create", {"name": "x", "type": "bucket"})[0] == 400
    assert (
        call(hub, "POST", "/api/repos/create", {"name": "x", "type": "space", "sdk": "flash"})[0]
        == 400
    )
    with pytest.raises(RepositoryNotFoundError):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="a", repo_id=repo, repo_type="dataset")


def test_private_repositories_do_not_show(hub, api):
    api.create_repo("relvit/secret", private=True)
    api.upload_file(path_or_fileobj=BIG, path_in_repo="a.bin", repo_id="relvit/secret")
    for token in (False, "local-other"):
        stranger = HfApi(hub.url, token=token)
        with pytest.raises(RepositoryNotFoundError) as caught:
            stranger.model_info("relvit/secret")
        assert caught.value.response.status_code == 404
        assert caught.value.response.headers["X-Error-Code"] == "RepoNotFound"
        assert list(stranger.list_models(author="relvit")) == []
    assert call(hub, "HEAD", "/relvit/secret/resolve/main/a.bin", token=None)[0] == 404
    assert call(hub, "GET", "/relvit/secret", token=None)[0] == 404
    assert [m.id for m in api.list_models(author="relvit")] == ["relvit/secret"]
    api.update_repo_settings("relvit/secret", private=False)
    assert HfApi(hub.url, token=False).model_info("relvit/secret").private is False


def test_files_come_back(hub, api, repo, tmp_path):
    folder = api.snapshot_download(repo, cache_dir=tmp_path)
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in _files(folder)}
    assert found.pop(".gitattributes")
    assert found == {"a.txt": b"one\n", "weights.safetensors": BIG, "sub/deep/b.txt": b"two\n"}
    used = {path.split("?")[0] for method, path, _ in hub.requests if method == "PUT"}
    assert used == {
        f"/_storage/{hashlib.sha256(BIG).hexdigest()}"
    }  # small ones travel in the commit


def _files(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_resolve(hub, repo):
    status, headers, body = call(hub, "GET", f"/{repo}/resolve/main/a.txt")
    assert (status, body) == (200, b"one\n")
    assert (
        headers["ETag"]
        == f'"{hashlib.sha1(b"blob 4" + bytes(1) + b"one" + bytes([10])).hexdigest()}"'
    )
    commit = headers["X-Repo-Commit"]
    assert re.fullmatch("[0-9a-f]{40}", commit)
    status, headers, body = call(
        hub, "HEAD", f"/{repo}/resolve/{commit}/weights.safetensors", token=None
    )
    assert (status, body) == (302, b"")
    assert headers["X-Linked-Etag"] == f'"{hashlib.sha256(BIG).hexdigest()}"'
    assert headers["X-Linked-Size"] == str(len(BIG))
    assert headers["X-Repo-Commit"] == commit
    link = headers["Location"]
    assert urllib.request.urlopen(link).read() == BIG  # needs no token ...
    with pytest.raises(urllib.error.HTTPError, match="403"):  # ... but the signature
        urllib.request.urlopen(link.replace("signature=", "signature=0"))


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=10230-99999", 206, slice(10230, None)),
        ("bytes=99999-", 416, slice(0, 0)),
        ("lines=1-2", 200, slice(None)),
    ],
)
def test_ranges(hub, repo, wanted, status, part):
    link = call(hub, "HEAD", f"/{repo}/resolve/main/weights.safetensors")[1]["Location"]
    path = link[link.index("/_storage") :]
    found, headers, body = call(hub, "GET", path, Range=wanted)
    assert (found, body) == (status, BIG[part])
    if status == 206:
        first, last = re.fullmatch(
            rf"bytes (\d+)-(\d+)/{len(BIG)}", headers["Content-Range"]
        ).groups()
        assert BIG[int(first) : int(last) + 1] == body


def test_what_is_missing_is_told_by_code(hub, api, repo, tmp_path):
    with pytest.raises(RepositoryNotFoundError):
        api.hf_hub_download("relvit/none", "a.txt", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download(repo, "a.txt", revision="v9", cache_dir=tmp_path)
    with pytest.raises(EntryNotFoundError) as caught:
        api.hf_hub_download(repo, "b.txt", cache_dir=tmp_path)
    assert caught.value.response.headers["X-Repo-Commit"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(repo, "nowhere"))
    with pytest.raises(RevisionNotFoundError):
        api.model_info(repo, revision="deadbeef")
    assert call(hub, "GET", "/api/none/at/all")[0] == 404


def test_trees(api, repo):
    names = ["sub", ".gitattributes", "a.txt", "weights.safetensors"]
    assert sorted(e.path for e in api.list_repo_tree(repo)) == sorted(names)
    everything = {e.path: e for e in api.list_repo_tree(repo, recursive=True, expand=True)}
    assert everything.keys() == {*names, "sub/deep", "sub/deep/b.txt"}
    assert everything["weights.safetensors"].lfs.sha256 == hashlib.sha256(BIG).hexdigest()
    assert everything["a.txt"].lfs is None
    assert everything["a.txt"].last_commit.title == "first"
    assert everything[".gitattributes"].last_commit.title == "initial commit"
    infos = api.get_paths_info(repo, ["sub", "a.txt", "none"], expand=True)
    assert [type(i).__name__ for i in infos] == ["RepoFolder", "RepoFile"]
    files = HfFileSystem(endpoint=api.endpoint, token=api.token)
    assert files.ls(repo, detail=False, refresh=True) == [
        f"{repo}/{name}" for name in sorted(names)
    ]
    assert files.read_bytes(f"{repo}/weights.safetensors") == BIG


def test_lists_have_pages(hub, api):
    for name in "abcde":
        api.create_repo(f"relvit/{name}", repo_type="dataset")
    path, names = "/api/datasets?author=relvit&limit=2", []
    while path:
        _, headers, body = call(hub, "GET", path)
        names.append([d["id"][-1] for d in json.loads(body)])
        path = re.match(rf"<{hub.url}(.*)>", headers["Link"])[1] if headers["Link"] else None
    assert names == [["e", "d"], ["c", "b"], ["a"]]
    assert len(list(api.list_datasets(author="relvit", limit=3))) == 3
    assert [d.id for d in api.list_datasets(search="B")] == ["relvit/b"]
    assert list(api.list_datasets(author="other")) == []


def test_branches_tags_and_commits(api, repo):
    first = api.model_info(repo).sha
    api.create_tag(repo, tag="v1.0.0")
    api.create_branch(repo, branch="try")
    api.upload_file(
        path_or_fileobj=b"three",
        path_in_repo="a.txt",
        repo_id=repo,
        revision="try",
        commit_message="two",
    )
    refs = api.list_repo_refs(repo)
    assert {b.name: b.target_commit == first for b in refs.branches} == {"main": True, "try": False}
    assert [(t.name, t.target_commit) for t in refs.tags] == [("v1.0.0", first)]
    assert [c.title for c in api.list_repo_commits(repo, revision="try")] == [
        "two",
        "first",
        "initial commit",
    ]
    assert api.list_repo_commits(repo)[0].authors == ["relvit"]
    api.create_tag(repo, tag="v1.0.0", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="exists already"):
        api.create_tag(repo, tag="v1.0.0")
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(repo, tag="v2", revision="nowhere")
    with pytest.raises(RevisionNotFoundError):
        api.upload_file(
            path_or_fileobj=b"x", path_in_repo="x", repo_id=repo, revision="v1.0.0"
        )  # tags do not move
    api.delete_tag(repo, tag="v1.0.0")
    api.delete_branch(repo, branch="try")
    assert api.list_repo_refs(repo).tags == []
    with pytest.raises(HfHubHTTPError, match="main cannot be deleted"):
        api.delete_branch(repo, branch="main")


def test_commits_change_copy_and_delete(hub, api, repo):
    operations = [
        CommitOperationCopy("weights.safetensors", "copy.safetensors"),
        CommitOperationDelete("sub/", is_folder=True),
        CommitOperationDelete("a.txt"),
    ]
    api.create_commit(repo, operations, commit_message="second")
    assert set(api.list_repo_files(repo)) == {
        ".gitattributes",
        "weights.safetensors",
        "copy.safetensors",
    }
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        api.create_commit(repo, [CommitOperationDelete("a.txt")], commit_message="third")


def test_a_stale_parent(api, repo):
    head = api.model_info(repo).sha
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo, parent_commit=head)
    with pytest.raises(HfHubHTTPError) as caught:
        api.upload_file(path_or_fileobj=b"y", path_in_repo="y", repo_id=repo, parent_commit=head)
    assert caught.value.response.status_code == 412
    assert "y" not in api.list_repo_files(repo)


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/x", "a//b", "./x", ".git/config", "a\\b", "", "a\nb", "sub"]
)
def test_bad_paths(hub, api, repo, path):
    head = api.model_info(repo).sha
    body = ndjson(
        ("header", {"summary": "x"}),
        ("file", {"path": path, "content": "eA==", "encoding": "base64"}),
    )
    assert call(hub, "POST", f"/api/models/{repo}/commit/main", body)[0] == 400
    if path != "sub":  # a folder of that name is there: only the commit can tell
        files = [{"path": path, "size": 1, "sample": "eA=="}]
        assert call(hub, "POST", f"/api/models/{repo}/preupload/main", {"files": files})[0] == 400
    quoted = urllib.parse.quote(path, safe="")
    assert call(hub, "GET", f"/{repo}/resolve/main/{quoted}")[0] == 404
    assert api.model_info(repo).sha == head


@pytest.mark.parametrize(
    "path",
    ["/..%2f..%2f/repo.json", "/api/models/..%2f../repo", "/relvit/..%2fm/resolve/main/a.txt"],
)
def test_no_way_out_of_the_storage(hub, repo, path):
    assert call(hub, "GET", path)[0] == 404


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([("file", {"path": "x", "content": "eA=="})], "the first line must be the header"),
        ([("header", {})], '"summary" is required'),
        ([("header", {"summary": "x"}), ("fille", {"path": "x"})], "unknown key 'fille'"),
        ([("header", {"summary": "x"}), ("file", {"path": "x", "content": "%%"})], "no base64"),
        (
            [("header", {"summary": "x"}), ("file", {"path": "x", "content": "AAA="})],
            "must be uploaded as a large file",
        ),
        (
            [("header", {"summary": "x"}), ("lfsFile", {"path": "x", "oid": "0" * 64, "size": 3})],
            "does not exist",
        ),
        (
            [("header", {"summary": "x"}), ("lfsFile", {"path": "x", "oid": "../../x", "size": 3})],
            "does not exist",
        ),
        (
            [
                ("header", {"summary": "x"}),
                ("lfsFile", {"path": "x", "oid": hashlib.sha256(BIG).hexdigest(), "size": 3}),
            ],
            "10240 bytes, not 3",
        ),
    ],
)
def test_bad_commits(hub, repo, lines, message):
    status, _, body = call(hub, "POST", f"/api/models/{repo}/commit/main", ndjson(*lines))
    assert status == 400
    assert message in json.loads(body)["error"]


def test_a_commit_is_all_or_nothing(hub, api, repo):
    before = api.model_info(repo).sha
    lines = [("file", {"path": "good", "content": "eA=="}), ("deletedFile", {"path": "missing"})]
    body = ndjson(("header", {"summary": "x"}), *lines)
    assert call(hub, "POST", f"/api/models/{repo}/commit/main", body)[0] == 404
    assert api.model_info(repo).sha == before


def test_large_files_must_be_what_they_say(hub, api, repo):
    content, oid = b"\0new" * 999, hashlib.sha256(b"\0new" * 999).hexdigest()

    def batch(size):
        wanted = {
            "operation": "upload",
            "transfers": ["basic"],
            "objects": [{"oid": oid, "size": size}],
        }
        return json.loads(call(hub, "POST", f"/{repo}.git/info/lfs/objects/batch", wanted)[2])[
            "objects"
        ][0]

    def put(href, body):
        return call(hub, "PUT", href[href.index("/_storage") :], body, token=None)[0]

    assert "error" in batch(0)
    upload = batch(len(content))["actions"]["upload"]["href"]
    assert put(upload, content[:-1] + b"x") == 400  # another hash
    assert put(upload, content[:-1]) == 400  # another size
    assert put(batch(5)["actions"]["upload"]["href"], content) == 400
    assert put(upload.replace("signature=", "signature=0"), content) == 403
    verify = f"/{repo}.git/info/lfs/verify"
    assert (
        call(hub, "POST", verify, {"oid": oid, "size": len(content)})[0] == 404
    )  # nothing was kept
    assert put(upload, content) == 200
    assert call(hub, "POST", verify, {"oid": oid, "size": 7})[0] == 422
    assert call(hub, "POST", verify, {"oid": oid, "size": len(content)})[0] == 200
    assert "actions" not in batch(len(content))


def test_uploads_need_the_repository(hub, api):
    for path in ("/api/models/relvit/none/preupload/main", "/api/models/relvit/none/commit/main"):
        assert call(hub, "POST", path, {"files": []})[0] == 404
    assert (
        call(hub, "POST", "/relvit/none.git/info/lfs/objects/batch", {"operation": "upload"})[0]
        == 404
    )


@pytest.mark.parametrize(
    ("kind", "header", "message"),
    [
        ("model", "license: [", "Invalid YAML"),
        ("model", "- a\n- b", "expected a mapping"),
        ("model", "license: my-own", '"license" must be a known license id'),
        ("model", "tags: relvit", '"tags" must be a list of strings'),
        ("model", "tags: [1]", '"tags" must be a list of strings'),
        ("model", "datasets: [a b]", '"datasets" must be a repo id'),
        (
            "model",
            "model-index:\n- name: x\n  results:\n  - task: {}\n",
            "each result needs task.type",
        ),
        ("model", "model-index: {}", '"model-index" must be a list'),
        ("dataset", "configs: {}", '"configs" must be a list'),
        ("dataset", "configs: [{config_name: a, data_files: [{split: x}]}]", "data_files of a"),
        (
            "dataset",
            "configs: [{config_name: a, default: true}, {config_name: b, default: true}]",
            "only one may be",
        ),
        ("dataset", "size_categories: [huge]", '"size_categories"'),
        ("space", "sdk: flash", '"sdk"'),
        ("space", "sdk: gradio\ncolorFrom: teal", '"colorFrom"'),
        ("space", "sdk: gradio\nsdk_version: 6.3", '"sdk_version"'),
        ("space", "", "empty or missing yaml metadata"),
    ],
)
def test_cards_with_bad_metadata(hub, api, kind, header, message):
    api.create_repo("relvit/c", repo_type=kind, space_sdk="gradio" if kind == "space" else None)
    card = f"---\n{header}\n---\n# Title\n".encode()
    with pytest.raises(ValueError, match=re.escape(message)):  # the client asks before it sends
        api.upload_file(
            path_or_fileobj=card, path_in_repo="README.md", repo_id="relvit/c", repo_type=kind
        )
    content = base64.b64encode(card).decode()
    body = ndjson(("header", {"summary": "x"}), ("file", {"path": "README.md", "content": content}))
    status, _, answer = call(hub, "POST", f"/api/{kind}s/relvit/c/commit/main", body)
    assert status == 400
    assert message in json.loads(answer)["error"]


@pytest.mark.skipif(
    "https://huggingface.co/api" in inspect.getsource(ModelCard.validate),
    reason="this huggingface_hub asks huggingface.co, whatever HF_ENDPOINT says",
)
def test_cards_with_good_metadata(api):
    assert card_errors("---\nlicense: mit\ntags: [a]\n---\n", "model") == ([], [])
    assert card_errors("# no header", "dataset") == (
        [],
        ["empty or missing yaml metadata in repo card"],
    )
    api.create_repo("relvit/c")
    ModelCard(
        "---\nlicense: apache-2.0\ntags: [relvit]\nlibrary_name: transformers\n---\n# T\n"
    ).push_to_hub("relvit/c", token=api.token)
    info = api.model_info("relvit/c")
    assert {"relvit", "license:apache-2.0", "transformers"} <= set(info.tags)
    assert info.card_data.license == "apache-2.0"
    assert [m.id for m in api.list_models(filter="relvit")] == ["relvit/c"]


def test_collections(hub, api, repo):
    made = api.create_collection(
        "Relations", namespace="relvit", description="All of it", private=True
    )
    assert api.create_collection("Relations", namespace="relvit", exists_ok=True).slug == made.slug
    api.add_collection_item(made.slug, repo, "model", note="the first")
    api.add_collection_item(made.slug, repo, "model", exists_ok=True)
    (item,) = api.get_collection(made.slug).items
    assert (item.item_id, item.item_type, item.note) == (repo, "model", "the first")
    with pytest.raises(HfHubHTTPError):
        api.add_collection_item(made.slug, "relvit/none", "model")
    with pytest.raises(HfHubHTTPError, match="Collection not found"):
        HfApi(hub.url, token="local-other").get_collection(made.slug)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_collection("Mine", namespace="other")
    assert [c.slug for c in api.list_collections(owner="relvit")] == [made.slug]
    api.delete_collection(made.slug)


def test_many_at_once(hub, api, repo):
    """Each commit builds on the one before: none is lost."""
    with ThreadPoolExecutor(8) as pool:
        names = [f"{i}.bin" for i in range(16)]
        list(
            pool.map(
                lambda name: api.upload_file(path_or_fileobj=BIG, path_in_repo=name, repo_id=repo),
                names,
            )
        )
        made = list(
            pool.map(
                lambda i: call(hub, "POST", "/api/repos/create", {"name": "race"})[0], range(8)
            )
        )
    assert set(names) < set(api.list_repo_files(repo))
    assert len(list(api.list_repo_commits(repo))) == 18
    assert sorted(made) == [200] + [409] * 7


def test_failures_can_be_switched_on(hub, api, repo):
    hub.fail("GET", f"/api/models/{repo}", status=418, skip=1, times=2)
    answers = [call(hub, "GET", f"/api/models/{repo}")[0] for _ in range(4)]
    assert answers == [200, 418, 418, 200]
    hub.fail("PUT", "/_storage/", status=None, after=100)
    api.upload_file(
        path_or_fileobj=BIG * 50, path_in_repo="big.bin", repo_id=repo
    )  # the client tries again
    uploads = [status for method, _, status in hub.requests if method == "PUT"]
    assert uploads == [200, 0, 200]
    hub.fail("GET", "/_storage/", status=None, after=100)
    link = call(hub, "HEAD", f"/{repo}/resolve/main/big.bin")[1]["Location"]
    with pytest.raises(http.client.IncompleteRead):
        urllib.request.urlopen(link).read()


def test_a_restart_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    folder = tmp_path / "storage"
    with Hub(folder) as hub:
        api = HfApi(hub.url, token="local-relvit")
        api.create_repo("relvit/m")
        api.upload_file(path_or_fileobj=BIG, path_in_repo="a.bin", repo_id="relvit/m")
        api.create_tag("relvit/m", tag="v1")
        sha = api.model_info("relvit/m").sha
        (folder / "incoming" / "half").write_bytes(b"half of an upload")
    with Hub(folder) as hub:
        api = HfApi(hub.url, token="local-relvit")
        assert api.model_info("relvit/m", revision="v1").sha == sha
        assert (
            Path(
                api.hf_hub_download("relvit/m", "a.bin", cache_dir=tmp_path / "cache")
            ).read_bytes()
            == BIG
        )
        assert not any((folder / "incoming").iterdir())


def test_pages_for_people(hub, api):
    api.create_repo("relvit/c", repo_type="dataset", private=True)
    card = b"---\nlicense: mit\n---\n# A <script>alert(1)</script> card\n\n![x](pic.png)\n"
    card += b"\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    api.upload_file(
        path_or_fileobj=card, path_in_repo="README.md", repo_id="relvit/c", repo_type="dataset"
    )
    assert b"relvit/c" not in call(hub, "GET", "/", token=None)[2]
    status, headers, _ = call(hub, "GET", "/?token=local-relvit", token=None)
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"].split(";")[0]
    page = call(hub, "GET", "/", token=None, Cookie=cookie)[2].decode()
    assert '<a href="/datasets/relvit/c">relvit/c</a>' in page
    page = call(hub, "GET", "/datasets/relvit/c", token=None, Cookie=cookie)[2].decode()
    assert 'href="/datasets/relvit/c/resolve/main/README.md"' in page
    assert 'src="/datasets/relvit/c/resolve/main/pic.png"' in page
    assert "<td>1</td>" in page
    assert "<script>" not in page
    assert "license: mit" not in page
    assert call(hub, "GET", "/?token=nonsense", token=None)[0] == 401
