"""The one setting object. Every field is an environment variable: `DROVER_HOME`, `DROVER_S3_ENDPOINT`, ..."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from ._robots import HardwareId
from .errors import StackError

STACK_FILE = "stack.json"
"""In `home`, mode 600: what the running embedded stack adds to the settings."""


_RAY_ACCESS = frozenset({"ray_token_file", "ray_certificates"})


class _RunningStack(PydanticBaseSettingsSource):
    """Fields that `drover up` wrote to `<home>/stack.json`; the environment outranks them."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # unused: __call__ returns all fields at once

    def __call__(self) -> dict[str, Any]:
        path = Path(self.current_state.get("home") or Path.home() / ".drover") / STACK_FILE
        try:
            found = dict(json.loads(path.read_text())["settings"])
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise StackError(f"{path} cannot be read: {error.strerror}; it belongs to who ran `drover up`") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StackError(f"{path} is damaged ({error}); remove it; `drover up` writes it anew") from None
        if self.current_state.get("ray_address") is not None:  # another Ray: not to be told this one's token
            return {name: value for name, value in found.items() if name not in _RAY_ACCESS}
        return found


def _by_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    """Defaults run everything offline on this machine."""

    model_config = SettingsConfigDict(env_prefix="DROVER_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=lambda: Path.home() / ".drover")
    """Everything the embedded stack keeps."""
    s3_endpoint: str | None = None
    """host:port. Set it (with key and secret) to use an S3 of yours: then no object store is started."""
    s3_key: str | None = None
    s3_secret: SecretStr | None = None
    s3_region: str = "us-east-1"
    s3_secure: bool = False
    robot_s3_key: str | None = None
    """The update agents' own identity: reads releases, and writes nothing. Episodes and reports go by the gateway."""
    robot_s3_secret: SecretStr | None = None
    robot_s3_endpoint: str | None = None
    """host:port under which robots reach the object store; None: `s3_endpoint`. The gateway's links name it."""
    robot_s3_secure: bool | None = None
    """None: as `s3_secure`."""
    gateway_url: str | None = None
    """Where robots enrol and ask for uploads."""
    gateway_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_by_commas)] = ()
    """Further names or addresses that robots know the gateway by, without ports; a list with commas in the environment.
    Requests for any other name than these, loopback's and that of `gateway_url` are refused."""
    gateway_s3_key: str | None = None
    """The gateway's own identity: opens and completes uploads in the inbox, reads receipts, enrols robots, writes
    robots' reports."""
    gateway_s3_secret: SecretStr | None = None
    transfer_least_bytes_s: float = Field(default=1024.0, gt=0, le=2**30)
    """A connection that moves less, averaged over `transfer_window_s`, is cut, and tried again."""
    transfer_window_s: float = Field(default=30.0, ge=0.1, le=3600)
    call_s: float = Field(default=120.0, ge=1, le=3600)
    """The longest that one small call to the object store may take."""
    slot_verify_s: float = Field(default=3600.0, ge=0)
    """A robot's agent hashes what drives after so many seconds, changed or not; what changed at once."""
    release_hardware: Annotated[tuple[HardwareId, ...], NoDecode, BeforeValidator(_by_commas)] = ("simulated",)
    """The hardware ids that releases are signed for, named by an operator, with commas between: what robots claim adds
    none."""
    upload_link_s: float = Field(default=900.0, ge=5, le=86_400)
    """How long a link to a part of an upload holds."""
    gateway_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_by_commas)] = ()
    """Addresses of TLS proxies in front of the gateway, with commas between them: their X-Forwarded-For is believed."""
    ingest_failed_reads: int = Field(default=3, ge=1, le=1000)
    """After as many failed reads an upload is set aside and its robot is asked to send it again."""
    receipt_key_file: Path | None = None
    """The private key that signs receipts, mode 600; None: `<home>/receipt-key.pem`, made when first needed."""
    checks_file: Path | None = None
    """Thresholds and severities of the checks; None: `<home>/checks.toml` where it is there, else the defaults."""
    collection_plan: Path | None = None
    """What to record how often; None: `<home>/collection.toml` where it is there, else the defaults."""
    ray_address: str | None = None
    """None: a local Ray is started by whoever needs it."""
    ray_token_file: Path | None = None
    """Holds the token that this Ray asks for."""
    ray_certificates: Path | None = None
    """Folder of `ca.crt`, `node.crt` and `node.key`, where this Ray talks over mutual TLS alone; None: it does not."""
    prefect_api_url: str | None = None
    prefect_auth: SecretStr | None = None
    """Prefect's auth string, `user:password`: whoever has it runs code as who runs the worker."""
    ray_dashboard_url: str | None = None
    """Ray's own, for its commands. Not for a browser: its sign-in leaves the token in a cookie for all ports."""
    ray_page_url: str | None = None
    """The dashboard for a browser; its password is Ray's token."""
    serving_url: str | None = None
    """The Bento of the promoted policy."""
    serving_token: SecretStr | None = None
    """Asked for by the Bento of the promoted policy."""
    pages_url: str | None = None
    """The stack's page server: reports as a browser reads them."""
    pages_token: SecretStr | None = None
    """The page server's password; in links that a command prints, never in one that is kept."""
    s3_port: int | None = None
    """Ports of the embedded stack; None: a free one, the same as last time where possible."""
    prefect_port: int | None = None
    ray_dashboard_port: int | None = None
    serving_port: int | None = None
    pages_port: int | None = None
    gateway_port: int | None = None

    @property
    def ray_access(self) -> dict[str, str]:
        """Variables that Ray's processes and its drivers need, so that they talk to each other."""
        access: dict[str, str] = {}
        if self.ray_token_file is not None:
            # A token in the environment, as a shell or a Ray of this process's own leaves one, would go before the file
            access |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": str(self.ray_token_file)}
        if (folder := self.ray_certificates) is not None:
            access |= {
                "RAY_USE_TLS": "1",
                "RAY_TLS_CA_CERT": str(folder / "ca.crt"),
                "RAY_TLS_SERVER_CERT": str(folder / "node.crt"),
                "RAY_TLS_SERVER_KEY": str(folder / "node.key"),
            }
        return access

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _RunningStack(settings_cls)
