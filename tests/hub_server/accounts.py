"""Who may do what. The tokens are of this server only; they open nothing anywhere else."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import HubError


@dataclass(frozen=True)
class Account:
    """Args: ``name`` of the user, the organizations it belongs to, what its token is good for ("write", "read")."""

    name: str
    orgs: tuple[str, ...] = ()
    role: str = "write"
    expired: bool = False


ACCOUNTS = {
    "local-relvit": Account("relvit", ("relvit-lab",)),
    "local-reader": Account("relvit", ("relvit-lab",), role="read"),
    "local-other": Account("other"),
    "local-expired": Account("relvit", expired=True),
}


def account_of(token: str | None, accounts: dict[str, Account]) -> Account | None:
    """The account of a token, None for a visitor without one; HubError 401 for a token that is no good."""
    if not token:
        return None
    account = accounts.get(token)
    if account is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    if account.expired:
        raise HubError(
            401, "Invalid credentials in Authorization header: the user access token is expired"
        )
    return account


def may_read(account: Account | None, owner: str, private: bool) -> bool:
    return not private or (account is not None and owner in (account.name, *account.orgs))


def check_write(account: Account | None, owner: str) -> Account:
    """HubError 401 without a token, 403 in somebody else's namespace or with a token that may only read."""
    if account is None:
        raise HubError(401, "Invalid username or password.")
    if owner not in (account.name, *account.orgs):
        raise HubError(
            403,
            f'You don\'t have the rights to create or change anything under the namespace "{owner}"',
        )
    if account.role != "write":
        raise HubError(
            403,
            f"This token of {account.name} may only read: a token with the role write is needed",
        )
    return account


def whoami(account: Account | None) -> dict:
    if account is None:
        raise HubError(401, "Invalid username or password.")
    orgs = [
        {"type": "org", "id": org, "name": org, "fullname": org, "roleInOrg": "admin"}
        for org in account.orgs
    ]
    return {
        "type": "user",
        "id": account.name,
        "name": account.name,
        "fullname": account.name,
        "isPro": False,
        "orgs": orgs,
        "auth": {
            "type": "access_token",
            "accessToken": {"displayName": "local", "role": account.role},
        },
    }
