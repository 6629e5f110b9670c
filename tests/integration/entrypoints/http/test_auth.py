"""Each caller sees and steers the runs of their own, and nobody is let in without a token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from fastapi.testclient import TestClient

import flowq
from flowq import flow
from flowq.core.errors import InvalidSetting
from flowq.entrypoints.cli.app import http_app
from flowq.entrypoints.http.app import create_app
from flowq.entrypoints.http.settings import HttpSettings, http_settings
from tests.tools.http_service import client, paths
from tests.tools.playing import Stage

KEY = "a secret of at least thirty-two bytes"


@flow(name="tests.http.guarded")
async def guarded() -> str:
    return await flowq.signal("say", str)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def signed(user: str, **claims: Any) -> str:
    known = {"sub": user, "exp": datetime.now(UTC) + timedelta(minutes=5), **claims}
    return jwt.encode({name: value for name, value in known.items() if value is not None}, KEY)


@dataclass
class Mode:
    """A way to be known, with what callers of some names send."""

    http: TestClient
    headers: Callable[[str], dict[str, str]]
    wrong: dict[str, str]


TOKENS = {"ann": "user", "bob": "user", "robot": "service", "root": "admin"}


def tokens_file(folder: Path) -> Path:
    lines = [f"{sha256(f'{name}!'.encode()).hexdigest()} {name} {TOKENS[name]}" for name in TOKENS]
    file = folder / "tokens"
    file.write_text("\n".join(["# who may use it", *lines, ""]))
    return file


@pytest.fixture(params=["tokens", "jwt"])
def mode(request: pytest.FixtureRequest, tmp_path: Path) -> Mode:
    if request.param == "tokens":
        http = client(http_auth="tokens", http_tokens_file=tokens_file(tmp_path))
        return Mode(http, lambda name: bearer(f"{name}!"), bearer("ann"))
    http = client(http_auth="jwt", http_jwt_key=KEY)
    return Mode(
        http, lambda name: bearer(signed(name, role=TOKENS[name])), bearer(signed("ann")[:-2])
    )


def started(http: TestClient, headers: Mapping[str, str]) -> str:
    answer = http.post("/api/flows/tests.http.guarded/runs", json={}, headers=headers)
    assert 202 == answer.status_code, answer.text
    found: str = answer.json()["id"]
    return found


#: Each route of a run, and what it answers to whose run it is. The cancel is the last one.
OF_A_RUN = {
    "GET /api/runs/{run_id}": 200,
    "GET /api/runs/{run_id}/steps": 200,
    "GET /api/runs/{run_id}/steps/{key}/result": 404,
    "GET /api/runs/{run_id}/result": 202,
    "GET /api/runs/{run_id}/logs": 403,
    "POST /api/runs/{run_id}/pause": 200,
    "POST /api/runs/{run_id}/resume": 200,
    "POST /api/runs/{run_id}/signals/{name}": 200,
    "POST /api/runs/{run_id}/rerun": 400,
    "POST /api/runs/{run_id}/rerun/preview": 400,
    "GET /api/v1/flow-engine/runs/{run_id}": 200,
    "POST /api/runs/{run_id}/cancel": 200,
    "GET /api/runs/{run_id}/events": 200,
}
OTHERS = {
    "GET /api/flows": 200,
    "POST /api/flows/{name}/runs": 202,
    "GET /api/runs": 200,
    "GET /api/v1/flow-engine/runs": 200,
    "GET /api/schedules": 200,
    "GET /api/schedules/{name}": 404,
    "PUT /api/schedules/{name}": 422,
    "DELETE /api/schedules/{name}": 404,
    "GET /api/schedules/{name}/ticks": 404,
    "POST /api/schedules/{name}/pause": 404,
    "POST /api/schedules/{name}/resume": 404,
    "POST /api/schedules/{name}/run": 404,
    "POST /api/schedules/{name}/backfill": 404,
    "DELETE /api/schedules/{name}/backfill": 404,
    "POST /api/v2/engine/register-playbook": 422,
    "POST /api/v2/events": 422,
    "GET /api/v2/health": 200,
    "GET /api/v2/playbook-schema": 200,
    "POST /api/execute": 422,
    "GET /api/catalog": 200,
    "GET /api/catalog/{path}": 404,
    "GET /api/v2/step-types": 200,
    "POST /api/v2/workflows/validate": 422,
    "POST /api/v2/workflows/runs": 422,
    "GET /api/v2/workflows/runs/{run_id}": 404,
    "GET /api/executions/{execution_id}/status": 404,
    "GET /api/executions/{execution_id}/events": 404,
    "GET /api/executions/{execution_id}/steps/{name}": 404,
    "GET /api/executions/{execution_id}/commands": 404,
    "GET /api/executions/{execution_id}/cancellation-check": 404,
    "POST /api/executions/{execution_id}/cancel": 404,
    "GET /api/vars/{execution_id}": 404,
    "GET /api/vars/{execution_id}/{name}": 404,
    "POST /api/v2/blueprints": 422,
    "GET /api/v2/blueprints": 200,
    "GET /api/v2/templates": 200,
    "GET /api/v2/blueprints/{blueprint_id}": 404,
    "PUT /api/v2/blueprints/{blueprint_id}": 422,
    "DELETE /api/v2/blueprints/{blueprint_id}": 404,
    "GET /api/v2/blueprints/{blueprint_id}/versions": 404,
    "POST /api/v2/blueprints/{blueprint_id}/clone": 404,
    "POST /api/v2/blueprints/{blueprint_id}/execute": 404,
    "POST /api/v2/blueprints/{blueprint_id}/stream": 404,
    "GET /api/v2/blueprints/{blueprint_id}/analytics": 404,
    "GET /api/v2/analytics/usage": 200,
    "GET /api/v2/instances": 200,
    "GET /api/v2/instances/{instance_id}": 404,
    "GET /api/v2/instances/{instance_id}/logs": 404,
    "POST /api/v2/instances/{instance_id}/cancel": 404,
}


def asked(
    http: TestClient, route: str, headers: Mapping[str, str], run_id: str = str(UUID(int=1))
) -> Any:
    method, path = route.split()
    name = "other" if "signals" in path else "tests.http.guarded"
    path = path.replace("{run_id}", run_id).replace("{name}", name)
    for part in ("{blueprint_id}", "{instance_id}"):
        path = path.replace(part, str(uuid4()))
    body: dict[str, Any] | None = {} if path.endswith("/runs") and method == "POST" else None
    return http.request(method, path, headers=headers, json=body)


def test_the_table_has_every_route() -> None:
    found = {f"{method.upper()} {path}" for path, each in paths().items() for method in each}
    assert {*OF_A_RUN, *OTHERS} == {each for each in found if " /api/" in each}


def test_every_route_needs_a_token(played: Stage, mode: Mode) -> None:
    for path in paths().keys() - {"/health"}:
        for method in paths()[path]:
            for headers in ({}, mode.wrong):
                answer = mode.http.request(method, path, headers=headers)
                assert (401, "Bearer") == (answer.status_code, answer.headers["WWW-Authenticate"])
                assert {"error", "message"} <= answer.json().keys()


def test_runs_of_others_are_as_if_they_were_not_there(played: Stage, mode: Mode) -> None:
    http, ann = mode.http, mode.headers("ann")
    own, others = started(http, ann), started(http, mode.headers("bob"))
    for route, status in OF_A_RUN.items():
        for headers in ({}, mode.wrong):
            for run_id in (own, others, str(uuid4())):
                refused = asked(http, route, headers, run_id)
                assert (401, "Bearer") == (
                    refused.status_code,
                    refused.headers["WWW-Authenticate"],
                )
        unknown = asked(http, route, ann, run_id := str(uuid4()))
        hidden = asked(http, route, ann, others)
        assert (404, 404) == (unknown.status_code, hidden.status_code), route
        assert unknown.text.replace(run_id, "") == hidden.text.replace(others, "")
        assert status == asked(http, route, ann, own).status_code, route


def test_other_routes_need_a_token_too(played: Stage, mode: Mode) -> None:
    for route, status in OTHERS.items():
        assert 401 == asked(mode.http, route, {}).status_code
        assert 401 == asked(mode.http, route, mode.wrong).status_code
        assert status == asked(mode.http, route, mode.headers("ann")).status_code
    assert 200 == mode.http.get("/health").status_code
    assert {401} == {mode.http.get(path).status_code for path in ("/docs", "/openapi.json")}


def test_lists_have_the_runs_that_one_may_see(played: Stage, mode: Mode) -> None:
    http = mode.http
    ann, bob = started(http, mode.headers("ann")), started(http, mode.headers("bob"))

    def listed(headers: Mapping[str, str], **params: str) -> set[str]:
        runs = http.get("/api/runs", headers=headers, params=params).json()["runs"]
        rows = http.get("/api/v1/flow-engine/runs", headers=headers).json()
        found = {run["id"] for run in runs}
        assert params or found == {row["id"] for row in rows}
        return found

    assert {ann} == listed(mode.headers("ann"))
    assert {ann} == listed(mode.headers("ann"), user="bob")
    assert {ann, bob} == listed(mode.headers("root"))
    assert {bob} == listed(mode.headers("root"), user="bob")
    assert set() == listed(mode.headers("robot"))
    assert {bob} == listed({**mode.headers("robot"), "X-User-Id": "bob"})
    assert {ann} == listed({**mode.headers("ann"), "X-User-Id": "ann"})
    for role, name in (("user", "ann"), ("admin", "root")):  # they are no services
        refused = http.get("/api/runs", headers={**mode.headers(name), "X-User-Id": "bob"})
        said = f"the role {role} may not act for another user"
        assert (403, said) == (refused.status_code, refused.json()["message"])


@pytest.mark.parametrize(
    "token",
    [
        signed("ann", exp=datetime.now(UTC) - timedelta(minutes=5)),
        signed("ann", exp=None),
        signed("ann", sub=None),
        signed("ann", aud="another service"),
        signed("ann", role="king"),
        signed("a" * 201),
        jwt.encode({"sub": "ann", "exp": 2**33}, "another key of thirty-two bytes or more"),
        jwt.encode({"sub": "ann", "exp": 2**33}, "", algorithm="none"),
        jwt.encode({"sub": "ann", "exp": 2**33}, KEY * 2, algorithm="HS512"),
        "no.jwt.atall",
        "",
    ],
)
def test_jwt_that_is_not_for_us_is_refused(played: Stage, token: str) -> None:
    http = client(http_auth="jwt", http_jwt_key=KEY)
    answer = http.get("/api/runs", headers=bearer(token))
    assert (401, "Unauthorized") == (answer.status_code, answer.json()["error"])


def test_audience_is_the_one_of_the_settings(played: Stage) -> None:
    http = client(http_auth="jwt", http_jwt_key=KEY, http_jwt_audience="flowq")
    assert 200 == http.get("/api/runs", headers=bearer(signed("ann", aud="flowq"))).status_code
    for other in ("shop", None):
        refused = http.get("/api/runs", headers=bearer(signed("ann", aud=other)))
        assert 401 == refused.status_code


def test_token_that_is_taken_out_of_the_file_is_of_no_use(played: Stage, tmp_path: Path) -> None:
    file = tokens_file(tmp_path)
    http = client(http_auth="tokens", http_tokens_file=file)
    assert 200 == http.get("/api/runs", headers=bearer("ann!")).status_code
    file.write_text("")
    assert 401 == http.get("/api/runs", headers=bearer("ann!")).status_code


def test_file_that_becomes_wrong_leaves_the_tokens_as_they_are(
    played: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tokens_file(tmp_path)
    good = file.read_text()
    http = client(http_auth="tokens", http_tokens_file=file)

    def statuses() -> list[int]:
        names = ("ann!", "eve!")
        return [http.get("/api/runs", headers=bearer(name)).status_code for name in names]

    for break_it, said in (
        (lambda: file.write_text(good.replace("ann", "eve of old")), "line 2 of FLOWQ_HTTP_TOKENS"),
        (file.unlink, "cannot be read"),
    ):
        caplog.clear()
        break_it()
        assert [200, 401] == statuses()
        assert [200, 401] == statuses()
        warned = [one for one in caplog.records if said in one.getMessage()]
        assert len(warned) == 1
    file.write_text(f"{good}{sha256(b'eve!').hexdigest()} eve user")
    assert [200, 200] == statuses()


@pytest.mark.parametrize("line", ["secret ann user", "0" * 64 + " ann", "0" * 64 + " ann king"])
def test_file_of_tokens_that_is_wrong_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(line)
    settings = HttpSettings(http_auth="tokens", http_tokens_file=file)
    with pytest.raises(InvalidSetting, match="line 1") as refused:
        create_app(settings)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "client_host, headers, status",
    [
        ("127.0.0.1", {}, 200),
        ("::1", {"Host": "[::1]:8001"}, 200),
        ("127.0.0.1", {"Host": "localhost:8001"}, 200),
        ("10.0.0.7", {}, 403),
        ("127.0.0.1", {"Host": "flowq.evil.example"}, 403),
        ("127.0.0.1", {"Origin": "https://evil.example"}, 403),
        ("127.0.0.1", {"Origin": "null"}, 403),
        ("127.0.0.1", {"Origin": "http://127.0.0.1"}, 200),
        ("127.0.0.1", {"Origin": "https://app.example.com"}, 200),
    ],
)
def test_local_service_is_for_this_machine(
    played: Stage, client_host: str, headers: dict[str, str], status: int
) -> None:
    app = create_app(HttpSettings(http_cors_origins="https://app.example.com"))
    http = TestClient(app, base_url="http://127.0.0.1", client=(client_host, 1))
    assert status == http.get("/api/runs", headers=headers).status_code


def test_insecure_service_is_for_everybody(played: Stage) -> None:
    app = create_app(HttpSettings(http_insecure=True))
    http = TestClient(app, base_url="http://flowq.example", client=("10.0.0.7", 1))
    assert 200 == http.get("/api/runs").status_code


def test_local_user_sees_all_and_acts_for_whom_it_names(played: Stage) -> None:
    http = client()
    ann = started(http, {"X-User-Id": "ann"})
    assert "ann" == http.get(f"/api/runs/{ann}").json()["user_id"]
    assert 404 == http.get(f"/api/runs/{ann}", headers={"X-User-Id": "bob"}).status_code
    assert 401 == http.get("/api/runs", headers={"X-User-Id": "x" * 300}).status_code


@pytest.mark.parametrize(
    "wrong, settings",
    [
        ("TOKENS_FILE", {"AUTH": "tokens"}),
        ("JWT_KEY", {"AUTH": "jwt"}),
        ("AUTH", {"AUTH": "none"}),
        ("JWT_ALGORITHMS", {"JWT_ALGORITHMS": "none"}),
        ("JWT_ALGORITHMS", {"JWT_ALGORITHMS": "HS256, RS256"}),
        ("CORS_ORIGINS", {"CORS_ORIGINS": "*"}),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: str, settings: dict[str, str]
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"FLOWQ_HTTP_{name}", value)
    http_settings.cache_clear()
    try:
        with pytest.raises(InvalidSetting, match=f"FLOWQ_HTTP_{wrong}"):
            create_app()
    finally:
        http_settings.cache_clear()


@pytest.mark.parametrize("method", ["local", "jwt"])
def test_documentation_is_named_where_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("FLOWQ_HTTP_AUTH", method)
    monkeypatch.setenv("FLOWQ_HTTP_JWT_KEY", KEY)
    http_settings.cache_clear()
    try:
        answer = client(http_auth=method, http_jwt_key=KEY).get(
            "/docs", headers=bearer(signed("a"))
        )
        assert (200 if http_app.has_docs() else 404) == answer.status_code
        assert http_app.has_docs() is (method == "local")
    finally:
        http_settings.cache_clear()


def test_public_key_is_needed_for_its_algorithms() -> None:
    settings = HttpSettings(http_auth="jwt", http_jwt_key=KEY, http_jwt_algorithms="RS256")
    with pytest.raises(InvalidSetting, match="FLOWQ_HTTP_JWT_KEY") as refused:
        create_app(settings)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("algorithm, size", [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_secret_that_is_shorter_than_its_digests_is_refused(algorithm: str, size: int) -> None:
    def app(key: str) -> None:
        create_app(HttpSettings(http_auth="jwt", http_jwt_key=key, http_jwt_algorithms=algorithm))

    app("é" * (size // 2))
    with pytest.raises(InvalidSetting, match=f"{size - 1} bytes, {algorithm} needs {size}"):
        app("k" * (size - 1))


def test_page_that_is_named_may_use_the_service(played: Stage) -> None:
    http = client(http_auth="jwt", http_jwt_key=KEY, http_cors_origins="https://app.example.com")
    asking = {
        "Origin": "https://app.example.com",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    assert 200 == http.options("/api/runs", headers=asking).status_code
    headers = {**bearer(signed("ann")), "Origin": "https://app.example.com"}
    answer = http.get("/api/runs", headers=headers)
    assert "https://app.example.com" == answer.headers["Access-Control-Allow-Origin"]
