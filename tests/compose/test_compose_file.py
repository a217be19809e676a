"""The compose files and the Dockerfile say what docs/operations.md promises; no Docker is needed to check it."""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.k8s.programs import OutboxRelayConfig

from cornelius import settings as cornelius_settings
from roots.nats.provision import ProvisionConfig
from roots.tracing.tracing import TracingConfig
from roots_longpoll.config import Config as LongpollConfig
from roots_outbox.application import commands
from roots_subscriptions.config import SubscriptionsConfig
from roots_tasks.config import MigrateConfig, RelayConfig, ServeConfig

ROOT = Path(__file__).parents[2]
READS: dict[str, list[type]] = {
    "migrate": [MigrateConfig],
    "provision": [ProvisionConfig],
    "tasks": [ServeConfig, TracingConfig],
    "relay": [RelayConfig, TracingConfig],
    "outbox": [OutboxRelayConfig, TracingConfig],
    "subscriptions": [SubscriptionsConfig, TracingConfig],
    "longpoll": [LongpollConfig, TracingConfig],
    "outbox-install": [commands.DatabaseConfig],
    "outbox-relay": [commands.DatabaseConfig, commands.RelayConfig],
}
"""What each container reads its environment with."""
READ_BY_CORNELIUS = {cornelius_settings.URL_VARIABLE, cornelius_settings.KEY_VARIABLE}
ONE_SHOTS = {"migrate", "provision", "outbox-install"}
UNITS = {"s": 1, "m": 60}

Service = dict[str, Any]


def with_defaults(text: str) -> str:
    """Return `text` as compose reads it when no variable is set, and each that has to be set has some value."""
    return re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", text)


FILE: dict[str, Any] = yaml.safe_load(with_defaults((ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
SERVICES: dict[str, Service] = FILE["services"]
APPLICATION_TEXT = (ROOT / "deploy/compose/application.yml").read_text(encoding="utf-8")
APPLICATION: dict[str, Any] = yaml.safe_load(with_defaults(APPLICATION_TEXT))
# What the second file adds, beside what it changes.
ADDED = {name: service for name, service in APPLICATION["services"].items() if name not in SERVICES}
ALL = SERVICES | ADDED
SECRETS = FILE["secrets"] | APPLICATION["secrets"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
each_service = pytest.mark.parametrize("name", ALL)


@each_service
def test_container_may_do_nothing_more_when_it_runs(name: str) -> None:
    """Read-only, without capabilities, without new ones, as a numbered user other than root."""
    service = ALL[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    users = [service["user"]] if "build" not in service else re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    assert users
    assert all(re.fullmatch(r"[1-9]\d*:\d+", user) for user in users)


@each_service
def test_container_is_bounded_and_restarted_when_it_runs(name: str) -> None:
    """Limits of processors, memory and processes, a restart policy, logs that do not fill the disk."""
    service = ALL[name]

    assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys()
    assert service["restart"] == ("on-failure:5" if name in ONE_SHOTS else "unless-stopped")
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@each_service
def test_container_tells_its_health_when_it_goes_on_running(name: str) -> None:
    """Others wait for it, and a person sees it; a container that ends is waited for in another way."""
    service = ALL[name]
    if name in ONE_SHOTS:
        assert service["healthcheck"] == {"disable": True}
    elif "build" in service:
        stage = service["build"].get("target") or f"run-{service['build']['args']['SERVICE']}"
        assert "HEALTHCHECK" in re.split(r"^FROM ", DOCKERFILE.partition(f" AS {stage}\n")[2], flags=re.MULTILINE)[0]
    elif name != "application":  # whose image says how
        assert service["healthcheck"]["test"][0] == "CMD"


def test_health_check_has_time_to_start_when_the_machine_is_busy() -> None:
    """A check ends by itself after seconds; with 3 s for its start too, healthy containers were called unhealthy."""
    timeouts = re.findall(r"^HEALTHCHECK .*--timeout=(\S+)", DOCKERFILE, re.MULTILINE)

    assert len(timeouts) == DOCKERFILE.count("HEALTHCHECK")
    assert {*timeouts, SERVICES["postgres"]["healthcheck"]["timeout"]} == {"15s"}


@pytest.mark.parametrize("name", ["relay", "outbox", "outbox-relay"])
def test_relay_is_asked_at_its_own_port_when_it_shares_an_image(name: str) -> None:
    """The image's health check is of the task API; the port in the environment counts instead."""
    fields = [field for config in READS[name] for field in dataclasses.fields(config)]
    default = next(field.default for field in fields if field.name == "admin_port")

    assert ALL[name]["environment"]["ROOTS_ADMIN_PORT"] == default


def test_images_are_pinned_when_they_come_from_elsewhere() -> None:
    """A tag with a patch version is the same program tomorrow."""
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    foreign = [service["image"] for service in SERVICES.values() if "build" not in service]

    assert bases
    assert [image for image in [*bases, *foreign] if not re.search(r":v?\d+\.\d+(\.\d+|-)", image)] == []
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert [stage for stage in stages if not re.fullmatch(r"\$\{\w+_IMAGE\}|runtime|run-\$\{SERVICE\}", stage)] == []


@each_service
def test_environment_has_only_what_is_read_when_it_is_set(name: str) -> None:
    """A variable that nobody reads is a mistake, and a secret comes as a file."""
    environment = ALL[name].get("environment", {})
    fields = [field for config in READS.get(name, []) for field in dataclasses.fields(config)]
    read = {field.metadata["variable"] for field in fields}
    secret = {field.metadata["variable"] for field in fields if not field.repr}

    if name in READS:
        assert {variable.removesuffix("_FILE") for variable in environment} <= read | READ_BY_CORNELIUS
    assert not environment.keys() & secret
    for variable, value in environment.items():
        if re.search(r"PASSWORD|SECRET|KEY", variable):
            assert variable.endswith("_FILE")
        if variable.endswith("_FILE"):
            assert str(value).removeprefix("/run/secrets/") in ALL[name]["secrets"]


def test_image_has_listed_files_only_when_it_is_built() -> None:
    """Everything is left out of a build but what .dockerignore lets in again: no secret, no state, no checkout."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    let_in = [pattern[1:] for pattern in patterns if pattern.startswith("!")]

    assert patterns[0] == "*"
    assert let_in
    assert [path for path in let_in if path.startswith(".") or "secret" in path] == []
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {path for line in copied for path in line.replace("${SERVICE}", "*").split()} <= {*let_in}


def test_secrets_are_made_when_they_are_named() -> None:
    """deploy/compose/secrets.sh makes each but the URL of the user's database, and each is somebody's."""
    script = (ROOT / "deploy/compose/secrets.sh").read_text(encoding="utf-8")
    used = {secret for service in ALL.values() for secret in service.get("secrets", [])}

    assert SECRETS.keys() == used
    for name, secret in SECRETS.items():
        assert secret == {"file": f".compose/secrets/{name}"}
        assert re.search(rf"\b{name}\b", script) or name == "application-database-url"
    assert ".compose/" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


@each_service
def test_mounts_find_their_files_when_they_come_from_the_repository(name: str) -> None:
    """Docker would make an empty folder of a file that is not there."""
    sources = [volume.split(":")[0] for volume in ALL[name].get("volumes", [])]
    watched = [watch["path"] for watch in ALL[name].get("develop", {}).get("watch", [])]

    for source in sources:
        assert source in FILE["volumes"] or (ROOT / source).exists(), source
    for path in watched:
        assert (ROOT / path).exists(), path


def test_data_outlives_containers_when_they_are_made_anew() -> None:
    """PostgreSQL 18 keeps its data in a folder of its version, below the one to mount."""
    assert "postgres:/var/lib/postgresql" in SERVICES["postgres"]["volumes"]
    assert "nats:/data" in SERVICES["nats"]["volumes"]


@pytest.mark.parametrize("name", ["tasks", "relay", "outbox", "subscriptions", "longpoll", "outbox-relay"])
def test_container_is_given_time_when_it_drains(name: str) -> None:
    """Docker kills after the grace period; the drain's window, and some seconds to close, come before (I8)."""
    service = ALL[name]
    number, unit = re.fullmatch(r"(\d+)([sm])", service["stop_grace_period"]).groups()  # type: ignore[union-attr]

    assert int(number) * UNITS[unit] >= float(service["environment"]["ROOTS_DRAIN_SECONDS"]) + 10


def test_gateway_alone_is_published_when_the_profile_is_off() -> None:
    """The back-end API is on loopback; longpoll, which may have many replicas, binds no port of the machine."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published["gateway"] == ["127.0.0.1:4020:4020"]
    assert published["subscriptions"] == ["127.0.0.1:8004:8004"]
    assert all("profiles" in SERVICES[name] for name in published.keys() - {"gateway", "subscriptions"})
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert not any("container_name" in service for service in ALL.values())
    assert not any("ports" in service for service in APPLICATION["services"].values())


def test_stores_are_out_of_reach_when_the_gateway_is_taken() -> None:
    """The gateway shares no network with Postgres and NATS, and theirs leads nowhere else."""
    assert FILE["networks"]["stores"] == {"internal": True}
    assert SERVICES["gateway"]["networks"] == ["front"]
    assert SERVICES["postgres"]["networks"] == SERVICES["nats"]["networks"] == ["stores"]


def test_containers_wait_for_what_they_need_when_they_start() -> None:
    """Schema and streams first, then the services, then the gateway."""
    conditions = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }

    assert conditions["migrate"] == {"postgres": "service_healthy"}
    assert conditions["provision"] == {"nats": "service_healthy"}
    done = "service_completed_successfully"
    assert conditions["relay"] == {"migrate": done, "provision": done}
    assert conditions["tasks"] == {"migrate": done}
    assert conditions["longpoll"] == conditions["subscriptions"] == {"provision": done}
    assert set(conditions["gateway"].values()) == {"service_healthy"}


def test_todo_list_is_left_out_when_an_application_takes_its_place() -> None:
    """Nothing that runs waits for the todo list, or for a Postgres of Roots."""
    changed = APPLICATION["services"]
    left_out = {name for name in SERVICES if changed.get(name) == {"profiles": ["todos"]}}
    needs = {
        (name, other)
        for name in ALL.keys() - left_out
        for other, how in {**ALL[name].get("depends_on", {}), **changed.get(name, {}).get("depends_on", {})}.items()
        if how.get("required", True)
    }

    assert {"postgres", "migrate", "tasks", "relay"} == left_out
    assert set() == {need for need in needs if need[1] in left_out}
    assert changed["gateway"]["environment"]["ROOTS_APP_UPSTREAM"] == "application:8000"


def test_application_has_a_key_of_its_own_when_it_uses_the_backend_api() -> None:
    """The policy beside it names the key as subscriptions finds it, and no other."""
    folder = APPLICATION["services"]["subscriptions"]["volumes"][0].partition(":")[0]
    policy = tomllib.loads((ROOT / folder / "policy.toml").read_text(encoding="utf-8"))

    assert ["backend-application"] == APPLICATION["services"]["subscriptions"]["secrets"]
    assert ["/run/secrets/backend-application"] == [backend["key_file"] for backend in policy["backends"].values()]
    for name in ("application", "outbox-relay"):
        assert ALL[name]["environment"]["ROOTS_BACKEND_API_KEY_FILE"] == "/run/secrets/backend-application"


def test_settings_are_described_when_they_can_be_made() -> None:
    """Every variable that the files take stands in docs/operations.md, with the same default."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8") + APPLICATION_TEXT
    document = (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition("\n## Docker Compose\n")[2]
    settings = set(re.findall(r"\$\{(\w+):[-?]", text))

    assert [name for name in sorted(settings) if f"`{name}`" not in document] == []
