"""What holds at every address: slashes, methods, sizes, CORS, no cookies, JSON in every answer."""

from typing import Any

import pytest
from django.test import Client

from insula.api.settings import Choices
from tests.unit.api.wire.conftest import Browser, make_container

COLLECTIONS = ("me", "containers", "me/containers", "distros", "domains", "tags", "news")


@pytest.mark.parametrize("path", COLLECTIONS)
def test_a_final_slash_changes_nothing(ann: Browser, path: str) -> None:
    first, second = ann.call("GET", path), ann.call("GET", f"{path}/")
    assert (first.status, second.status) == (200, 200)
    assert first.body == second.body


@pytest.mark.parametrize("path", ["nothing", "containers/x", "tags/1/2", "domains/-1", ""])
def test_an_unknown_address_is_404_in_json(ann: Browser, path: str) -> None:
    answer = ann.call("GET", path)
    assert (answer.status, answer.body["error"]) == (404, "Not found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "me"),
        ("DELETE", "me"),
        ("POST", "news"),
        ("POST", "distros"),
        ("DELETE", "containers"),
        ("HEAD", "tags"),
        ("GET", "regenerate_secret_uuid/30001"),
        ("POST", "metrics/container.cpu/30001"),
        ("POST", "containers/30001/domains"),
    ],
)
def test_another_method_is_405_in_json(ann: Browser, method: str, path: str) -> None:
    answer = ann.call(method, path)
    assert answer.status == 405
    assert method == "HEAD" or answer.body["error"] == "Method not allowed"
    assert answer.headers["Allow"]


def test_a_body_of_64_kib_is_read_and_one_byte_more_is_not(ann: Browser) -> None:
    body = b'{"company": "x"' + b" " * (65536 - 16) + b"}"
    assert len(body) == 65536
    assert ann.call("POST", "me", body).status == 200
    answer = ann.call("POST", "me", body + b" ")
    assert (answer.status, answer.body["error"]) == (413, "Request entity too large")
    assert ann.call("DELETE", "domains", body + b" ").status == 413


def test_a_body_without_a_length_is_411(ann: Browser) -> None:
    answer = ann.call("POST", "me", {}, transfer_encoding="chunked")
    assert (answer.status, answer.body["error"]) == (411, "Length required")


def test_a_form_label_is_no_form(ann: Browser) -> None:
    assert ann.post("me", {"company": "Dogs & Co=1"})["company"] == "Dogs & Co=1"


@pytest.mark.parametrize("path", ["me", "containers/30001", "metrics/container.cpu/30001"])
def test_a_page_may_ask_first_without_a_login(nobody: Browser, path: str) -> None:
    answer = nobody.call("OPTIONS", path)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,POST,DELETE,OPTIONS"
    wanted = "X-uwsgi-it-username,X-uwsgi-it-password"
    assert answer.headers["Access-Control-Allow-Headers"] == wanted
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_only_listed_pages_may_read(ann: Browser, settings: Any) -> None:
    settings.CHOICES = Choices(allowed_origins=("https://console.example.org",))
    answer = ann.call("GET", "me", origin="https://console.example.org")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://console.example.org"
    assert "Origin" in answer.headers["Vary"]
    answer = ann.call("GET", "me", origin="https://evil.example.org")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_news_carries_no_cors_and_nothing_is_kept_by_caches(ann: Browser) -> None:
    assert "Access-Control-Allow-Origin" not in ann.call("GET", "news").headers
    assert ann.call("GET", "me").headers["Cache-Control"] == "no-store"


def test_people_with_curl_get_a_line_end(db: None) -> None:
    named: Any = {"insula.door": "public", "HTTPS": "on", "HTTP_USER_AGENT": "curl/8.0"}
    assert Client().get("/api/news", **named).content == b"[]\n"


def test_plain_http_is_refused_in_json(ann: Browser) -> None:
    answer = Client().get("/api/me", **{"insula.door": "public"})  # type: ignore[arg-type]  # a META key
    assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden")


def test_our_own_api_keeps_its_errors(ann: Browser, node: object) -> None:
    make_container(ann)
    answer = ann.call("GET", "v1/me")
    assert (answer.status, answer.body["code"]) == (401, "unauthenticated")
    assert ann.call("GET", "v1/nothing").body["code"] == "not-found"
