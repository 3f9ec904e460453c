"""Pages for people: the repositories, and of each its files and its card."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

from markdown_it import MarkdownIt

from .accounts import account_of, may_read
from .messages import PREFIX, REPO, Answer, Request, route
from .repos import readable
from .store import TYPES

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
a { color: #1a5fa0 } table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid #e3e6ea; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums } .pale { color: #6b6b6b } img { max-width: 100% }
pre { background: #f5f6f8; padding: .75rem; overflow-x: auto } code { font-size: .9em }
"""


def _page(title: str, body: str) -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    title = html.escape(title)
    head += f"<title>{title}</title><style>{_STYLE}</style>"
    return f'<!doctype html><html lang="en">{head}<h1>{title}</h1>{body}</html>'


def _table(rows: list[list[str]]) -> str:
    """Rows of HTML; the last column holds numbers."""
    lines = [
        "".join(f"<td>{cell}</td>" for cell in row[:-1]) + f'<td class="n">{row[-1]}</td>'
        for row in rows
    ]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def index(request: Request) -> Answer:
    if token := request.first("token"):  # so that a browser may see what is private
        account_of(token, request.hub.accounts)
        return Answer(
            b"",
            303,
            {"Location": "/", "Set-Cookie": f"token={token}; HttpOnly; SameSite=Strict; Path=/"},
        )
    body = ""
    for kind in TYPES:
        rows = []
        for repo in request.store.repos(kind):
            if not may_read(request.account, repo.owner, repo.facts["private"]):
                continue
            link = f"/{'' if kind == 'model' else kind + 's/'}{repo.id}"
            private = '<span class="pale">private</span>' if repo.facts["private"] else ""
            n = len(repo.commit("main")["files"])
            rows.append(
                [
                    f'<a href="{quote(link)}">{html.escape(repo.id)}</a>',
                    private,
                    repo.facts["modified"],
                    f"{n} files",
                ]
            )
        body += f"<h2>{kind.title()}s</h2>" + (_table(rows) if rows else '<p class="pale">none</p>')
    return Answer(_page("A Hub on this machine", body))


def repository(request: Request) -> Answer:
    repo = readable(request)
    revision = request.groups.get("revision", "main")
    commit = repo.commit(revision)
    prefix = request.groups.get("prefix", "")
    base = f"/{prefix + '/' if prefix else ''}{repo.id}"
    resolve = f"{base}/resolve/{quote(revision, safe='')}"
    rows = []
    for path, entry in sorted(commit["files"].items()):
        name = f'<a href="{resolve}/{quote(path)}">{html.escape(path)}</a>'
        rows.append([name, "large file" if entry["lfs"] else "", f"{entry['size']:,}"])
    names = [*repo.facts["branches"], *repo.facts["tags"]]
    refs = ", ".join(
        f'<a href="{base}/tree/{quote(name, safe="")}">{html.escape(name)}</a>' for name in names
    )
    facts = f"{'private' if repo.facts['private'] else 'public'}, commit {commit['sha'][:10]} of {commit['date']}"
    body = f'<p><a href="/">All</a> · {refs} · <span class="pale">{facts}</span></p>{_table(rows)}'
    if "README.md" in commit["files"]:
        body += "<hr>" + card_html(repo.read(commit, "README.md").decode(), resolve)
    return Answer(_page(repo.id, body))


def card_html(card: str, base: str) -> str:
    """A card as the Hub shows it: without its header, images of the repository found under ``base``."""
    text = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    shown = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return re.sub(r'(<img src=")(?!https?:|/|data:)', rf"\g<1>{base}/", shown)


ROUTES = [
    route("GET", "/", index),
    route("GET", f"/{PREFIX}(?!api/){REPO}(?:/tree/(?P<revision>[^/]+))?", repository),
]
