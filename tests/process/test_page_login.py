"""The page of a gateway beyond loopback: over TLS, by a token."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
import trustme
from credential_folder import credential_folder
from page_browser import browser
from page_plant import MARKET, PagePlant
from plant_process import DEMO, free_port, plant, wait_for

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

GATEWAY = """
[gateways.web]
bind = "{address}"
port = {port_of_page}
tokens = ["desk"]
tls_certificate = "cert.pem"
tls_key = "key.pem"
requests_per_s = 1000.0
"""
TOKENS = {"read": "token-of-the-desk", "history": "token-of-the-desk", "admin": "token-of-the-operator"}


def own_address() -> str:
    """One of this machine that is not loopback."""
    every = [one for of_one in psutil.net_if_addrs().values() for one in of_one]
    own = [one.address for one in every if one.family == socket.AF_INET and not one.address.startswith("127.")]
    return own[0] if own else pytest.skip("this machine has no address beyond loopback")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagePlant]:
    folder = tmp_path_factory.mktemp("login")
    address, port = own_address(), free_port()
    certificate = trustme.CA().issue_cert(address)
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    text = DEMO + GATEWAY.replace("{address}", address).replace("{port_of_page}", str(port))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in credential_folder(folder, "desk", TOKENS).items():
            patch.setenv(name, value)
        with browser(folder) as chromium, plant(folder, text, rate=100.0) as process:
            one = PagePlant(process, f"https://{address}:{port}", chromium)
            wait_for("the gateway", lambda: answers(one))
            yield one


def answers(running: PagePlant) -> bool:
    try:
        return httpx.get(f"{running.address}/healthz", verify=False).status_code == 200
    except httpx.TransportError:
        return False


def opened(running: PagePlant, path: str = MARKET) -> Any:
    page = running.open(path, ignore_https_errors=True)
    page.wait_for_selector("#login[open]")
    return page


def enter(page: Any, token: str) -> None:
    page.fill("#login input", token)
    page.keyboard.press("Enter")


def test_the_page_asks_for_a_token_and_keeps_it_out_of_reach_until_the_browser_is_closed(running: PagePlant) -> None:
    page = opened(running)
    assert "a token with the scope read is needed" in page.inner_text("#login")
    page.keyboard.press("Escape")
    assert page.is_visible("#login")
    enter(page, "token-of-the-desk")
    page.wait_for_selector("#market[data-state=live]")
    page.wait_for_selector("#plant[data-state=live]")

    (cookie,) = page.context.cookies()
    assert cookie["expires"] == -1, "it outlives the browser"
    assert cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Strict"
    kept = page.evaluate("[document.cookie, JSON.stringify({ ...localStorage, ...sessionStorage }), location.href]")
    assert not [text for text in kept if "token-of" in text], "a script can read the token"

    page.reload()
    page.wait_for_selector("#market[data-state=live]")
    page.context.close()
    another = opened(running)  # another browser knows nothing of it
    another.context.close()


def test_a_wrong_token_is_called_wrong_and_the_right_one_may_follow(running: PagePlant) -> None:
    page = opened(running, "#/health")
    enter(page, "guessed")
    page.wait_for_selector("#login [role=alert]:has-text('nobody has this token')")
    assert page.get_attribute("#login input", "aria-invalid") == "true"
    assert page.context.cookies() == []
    enter(page, "token-of-the-operator")  # a token that may not read
    page.wait_for_selector("#login [role=alert]:has-text('does not have the scope read')")
    page.context.close()


def test_who_logs_out_is_asked_again(running: PagePlant) -> None:
    page = opened(running)
    enter(page, "token-of-the-desk")
    page.wait_for_selector("#market[data-state=live]")
    page.keyboard.press("?")
    page.click("#about button:has-text('Log out')")
    page.wait_for_selector("#login[open]")
    assert page.context.cookies() == []
    page.context.close()


def test_a_page_whose_token_counts_no_more_asks_for_another(running: PagePlant) -> None:
    page = opened(running)
    enter(page, "token-of-the-desk")
    page.wait_for_selector("#market[data-state=live]")
    page.context.clear_cookies()
    page.wait_for_selector("#login[open]")
    enter(page, "token-of-the-desk")
    page.wait_for_selector("#login:not([open])", state="attached")
    page.wait_for_selector("#plant[data-state=live]")
    page.context.close()
