"""The settings of what an edge does; who may have it do so is in `broker.settings`, which is the
whole."""

import tempfile
from pathlib import Path
from typing import Annotated, Final, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from broker.edge.publishing.limits import PublishingLimits
from broker.engine.limits import Limits
from broker.profiles.loading import load_profiles
from broker.profiles.profile import Profile
from broker.redis.addresses import parse_addresses
from broker.redis.catalogue import Reading
from broker.redis.streams import KeyTemplate
from broker.redis.tail import Strategy, TailSettings
from broker.telemetry.installed import can_export
from broker.wire.event import EventFormat, TerminalRule
from broker.wire.folding import FoldRule
from broker.wire.request import RequestLimits

__all__ = ["CONFIG_FILE", "PREFIX", "Bytes", "Count", "EdgeSettings", "Seconds", "names"]

CONFIG_FILE: Final = "runcast.toml"
PREFIX: Final = "RUNCAST_"

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1024, le=1 << 32)]


def _user_data() -> Path:
    try:
        return Path(platformdirs.user_data_dir("runcast"))
    except RuntimeError:
        # A container's user may have neither a name nor a home.
        return Path(tempfile.gettempdir()) / "runcast"


class EdgeSettings(BaseSettings):
    """What an edge does."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        toml_file=CONFIG_FILE,
        frozen=True,
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that share the port, each a whole edge; about one per core.",
    )
    insecure: bool = Field(
        False,
        description="Allow an address other than loopback although no authentication is set up, "
        "and a jwt_jwks_url without TLS.",
    )

    redis_url: SecretStr | None = Field(
        None,
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// URL, or "
        "several of independent primaries, separated by spaces. Without one, an embedded Valkey "
        "is run.",
    )
    redis_timeout_seconds: Seconds = Field(5, description="The longest wait for Redis' answer.")
    redis_connections: Count = Field(
        4,
        description="Connections to each server for reads, shared by all viewers; the tail has "
        "its own.",
    )
    embedded_directory: Path = Field(
        _user_data() / "valkey",
        description="Where the embedded Valkey keeps its data.",
    )
    embedded_port: int = Field(
        0, ge=0, le=65535, description="The embedded Valkey's port; 0 takes a free one."
    )

    key_template: str = Field(
        "run:{run_id}",
        description="A run's key. {run_id} is replaced; write a hash tag as {{tag}}.",
    )
    type_field: str = Field("type", min_length=1, description="The entry field of the type.")
    data_field: str = Field("data", min_length=1, description="The entry field of the data.")
    final_field: str = Field(
        "final", min_length=1, description="The entry field that ends the run where it is 1."
    )
    terminal_types: str = Field(
        "done,succeeded,failed,cancelled,timed_out",
        description="Event types that end a run, comma-separated.",
    )
    terminal_rule: str | None = Field(
        None,
        description="A rule on a top-level JSON key of the data that ends a run, "
        "such as: state in succeeded,failed",
    )

    profile: str = Field(
        "native",
        description="The profiles to serve: names, or paths of one's own .toml files, "
        "comma-separated; the flag may be given more than once.",
    )
    text_types: str = Field(
        "chunk,token,delta",
        description="Event types that ?fold=text merges, comma-separated.",
    )
    text_member: str = Field(
        "text", min_length=1, description="The top-level JSON key of their data that has the text."
    )

    heartbeat_seconds: Seconds = Field(
        15, description="Quiet time after which a heartbeat is sent; below every proxy's limit."
    )
    retry_seconds: Seconds = Field(
        3, description="How long clients wait before they reconnect; each is told ± 50 %."
    )
    missing_run: Literal["wait", "reject"] = Field(
        "wait", description="For a run that has not begun: wait for it, or answer 404."
    )
    missing_run_timeout_seconds: Seconds = Field(
        300, description="How long a viewer waits for a run to begin."
    )
    expired_run: Literal["gap", "end"] = Field(
        "gap",
        description="For a cursor into a run that is gone: say a gap and wait, or answer 204.",
    )
    stall_timeout_seconds: Seconds = Field(
        30, description="A viewer that takes no byte for so long is dropped."
    )
    linger_seconds: Seconds = Field(
        10, description="How long a run stays watched after its last viewer, for reconnects."
    )
    drain_seconds: Seconds = Field(
        2, description="At shutdown, the time over which viewers are sent elsewhere."
    )

    window_bytes: Bytes = Field(
        1 << 20, description="Newest frames of each watched run kept in memory, in bytes."
    )
    windows_bytes: Bytes = Field(
        256 << 20,
        description="The same for all runs together; above it, the run longest without news "
        "gives up its own.",
    )
    recent_bytes: Bytes = Field(
        32 << 20,
        description="Pages of history kept for 10 s for others who want the same; all runs "
        "together.",
    )
    page_events: Count = Field(
        100,
        description="The most events read from Redis at once; with more, a long replay delays "
        "other runs.",
    )
    page_bytes: Bytes = Field(
        256 << 10, description="Bytes aimed at per read, by the mean size of the run's events."
    )
    unsent_bytes: Bytes = Field(
        256 << 10, description="Unsent bytes from which a viewer is slow and pulls again."
    )
    replay_concurrency: Count = Field(
        8,
        description="Replay reads on Redis at a time.",
    )
    detach: bool = Field(
        True,
        description="Take streams' connections over from the HTTP server, for less CPU and "
        "memory per viewer; off, they go through ASGI.",
    )
    max_limit: Count = Field(1000, description="The most that ?limit= and ?from=-N may ask for.")
    max_wait_seconds: Seconds = Field(25, description="The most that ?wait= may ask for.")

    publish: bool = Field(
        False,
        description="Take events, commands and new runs over HTTP, from whoever reaches this edge. "
        "Wants rights to write on Redis.",
    )
    publish_event_bytes: Bytes = Field(
        1 << 20, description="The most bytes of one event, command or new run, as JSON."
    )
    publish_body_bytes: Bytes = Field(
        64 << 20, description="The most bytes of one body of many events."
    )
    publish_body_events: Count = Field(10_000, description="The most events of one body.")
    publish_idle_seconds: Seconds = Field(
        30, description="The longest that such a body may bring no complete line."
    )
    publish_retry_seconds: Seconds = Field(
        10, description="How long an append over HTTP is tried again while Redis is away."
    )
    publish_events_per_second: Count = Field(
        10_000, description="Events taken over HTTP in one process, on average."
    )
    publish_run_events_per_second: Count = Field(
        1_000, description="The same of one run; a body that is faster is slowed down."
    )
    publish_concurrency: Count = Field(
        256, description="Bodies that one process reads at a time; each may hold a whole event."
    )
    requests_key: str = Field(
        "runs:requests",
        min_length=1,
        description="The stream of requests for new runs, from which workers read.",
    )
    queued_timeout_seconds: Seconds | None = Field(
        None,
        description="A run that no worker takes for so long is lost (no_worker); without it, it "
        "waits. Ended where end_lost_runs is on.",
    )
    abandoned_seconds: float = Field(
        10,
        ge=0,
        le=86_400,
        description="A run that was begun by the request that watches it is told to cancel when "
        "its last viewer has been gone for so long; 0 for never.",
    )
    end_lost_runs: bool = Field(
        False,
        description="End watched runs whose worker has kept a lease and let it run out "
        "(worker_lost). Wants rights to write on Redis.",
    )
    lease_look_seconds: Seconds = Field(
        30, description="How often a watched run without a lease is looked at for one."
    )

    tail: Strategy = Field(
        "auto",
        description="How new events are noticed: by keyspace notifications (notify), by blocked "
        "reads (block), or by whichever the server is set up for now (auto).",
    )
    tail_enable_notifications: bool = Field(
        False,
        description="Turn keyspace notifications on at the server where they are off "
        "(CONFIG SET notify-keyspace-events).",
    )
    tail_block_seconds: Seconds = Field(
        5, description="How long one XREAD blocks, and how often notifications are probed."
    )
    tail_keys_per_connection: Count = Field(
        32, description="Runs per blocked connection; Redis' cost per event grows with it."
    )
    sweep_seconds: Seconds = Field(
        10, description="How often each watched run is looked at without a sign of change."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe log level that is written."
    )
    log_format: Literal["console", "json"] = Field("console", description="How logs are written.")
    traces: bool = Field(
        False,
        description="Export OpenTelemetry traces over OTLP/HTTP, to where the standard OTEL_… "
        "variables say. Wants runcast[otel].",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over environment over file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @field_validator("redis_url")
    @classmethod
    def _redis_url_has_form(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_addresses(url.get_secret_value())
        return url

    @field_validator("key_template")
    @classmethod
    def _key_template_has_form(cls, template: str) -> str:
        KeyTemplate(template)
        return template

    @field_validator("profile", mode="before")
    @classmethod
    def _profiles_as_text(cls, given: object) -> object:
        # As the file has them, most naturally.
        return ",".join(map(str, given)) if isinstance(given, list) else given

    @model_validator(mode="after")
    def _profiles_fit(self) -> "EdgeSettings":
        if not self.profiles:
            raise ValueError("profile: name at least one, such as native")
        return self

    @field_validator("terminal_rule")
    @classmethod
    def _terminal_rule_has_form(cls, text: str | None) -> str | None:
        if text is not None:
            TerminalRule.parse(text)
        return text

    @field_validator("traces")
    @classmethod
    def _traces_can_be_exported(cls, traces: bool) -> bool:
        if traces and not can_export():
            raise ValueError("wants packages that are not installed: install runcast[otel]")
        return traces

    @property
    def keys(self) -> KeyTemplate:
        """How keys are made."""
        return KeyTemplate(self.key_template)

    @property
    def events(self) -> EventFormat:
        """How entries are read."""
        rule = self.terminal_rule
        return EventFormat(
            type_field=self.type_field,
            data_field=self.data_field,
            final_field=self.final_field,
            terminal_types=frozenset(names(self.terminal_types)),
            terminal_rule=None if rule is None else TerminalRule.parse(rule),
        )

    @property
    def profiles(self) -> list[Profile]:
        """What is served.

        Raises:
            ProfileError: one of them can't be.
        """
        return load_profiles(
            names(self.profile),
            Reading(self.keys, self.events),
            FoldRule(frozenset(names(self.text_types)), self.text_member),
        )

    @property
    def limits(self) -> Limits:
        """The engine's bounds."""
        return Limits(
            window_bytes=self.window_bytes,
            windows_bytes=self.windows_bytes,
            recent_bytes=self.recent_bytes,
            page_events=self.page_events,
            page_bytes=self.page_bytes,
            unsent_bytes=self.unsent_bytes,
            replay_concurrency=self.replay_concurrency,
            heartbeat_seconds=self.heartbeat_seconds,
            stall_timeout_seconds=self.stall_timeout_seconds,
            linger_seconds=self.linger_seconds,
            missing_run_timeout_seconds=self.missing_run_timeout_seconds,
            retry_seconds=self.retry_seconds,
        )

    @property
    def request_limits(self) -> RequestLimits:
        """Bounds on what viewers may ask for."""
        return RequestLimits(page_events=self.max_limit, wait_seconds=self.max_wait_seconds)

    @property
    def publishing_limits(self) -> PublishingLimits:
        """Bounds on what is taken over HTTP."""
        return PublishingLimits(
            event_bytes=self.publish_event_bytes,
            body_bytes=self.publish_body_bytes,
            body_events=self.publish_body_events,
            idle_seconds=self.publish_idle_seconds,
            events_per_second=self.publish_events_per_second,
            run_events_per_second=self.publish_run_events_per_second,
            retry_seconds=self.publish_retry_seconds,
            requests=self.publish_concurrency,
        )

    @property
    def tail_settings(self) -> TailSettings:
        """The tail's bounds."""
        return TailSettings(
            strategy=self.tail,
            enable_notifications=self.tail_enable_notifications,
            block_seconds=self.tail_block_seconds,
            keys_per_connection=self.tail_keys_per_connection,
            sweep_seconds=self.sweep_seconds,
        )


def names(text: str) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
