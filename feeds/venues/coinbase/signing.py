"""Signs requests to Coinbase Exchange. No I/O, no clock."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from tickplant.feeds.venues.coinbase import venue as facts

NAMES: Final = ("key", "passphrase", "secret")
"""The parts of a credential."""


class Signer:
    """Signs with one key."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """Raises ValueError, without any secret in it, if the credential is unusable."""
        missing = [name for name in NAMES if not secrets.get(name)]
        if missing:
            raise ValueError(f"the credential lacks {', '.join(missing)}; it has to have {', '.join(NAMES)}")
        try:
            self._secret = base64.b64decode(secrets["secret"], validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the secret of the credential is not base64") from None
        self._key, self._passphrase = secrets["key"], secrets["passphrase"]

    def subscription(self, now_ns: int) -> dict[str, str]:
        """The extra fields of a signed request to subscribe."""
        timestamp, signature = self._sign(now_ns, "GET", facts.SIGNED_PATH)
        return {
            "key": self._key,
            "passphrase": self._passphrase,
            "timestamp": timestamp,
            "signature": signature,
        }

    def headers(self, now_ns: int, path: str) -> dict[str, str]:
        """The headers of a REST request made at that time, give or take half a minute."""
        timestamp, signature = self._sign(now_ns, "GET", path)
        return {
            "CB-ACCESS-KEY": self._key,
            "CB-ACCESS-PASSPHRASE": self._passphrase,
            "CB-ACCESS-TIMESTAMP": timestamp,
            "CB-ACCESS-SIGN": signature,
        }

    def _sign(self, now_ns: int, method: str, path: str) -> tuple[str, str]:
        timestamp = str(now_ns // 10**9)
        digest = hmac.digest(self._secret, f"{timestamp}{method}{path}".encode(), hashlib.sha256)
        return timestamp, base64.b64encode(digest).decode()
