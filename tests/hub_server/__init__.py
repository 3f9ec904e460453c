"""A Hub on this machine, for the unmodified ``huggingface_hub`` client and ``HF_ENDPOINT``. See README.md."""

from .accounts import ACCOUNTS, Account
from .faults import Fault
from .server import Hub

__all__ = ["ACCOUNTS", "Account", "Fault", "Hub"]
