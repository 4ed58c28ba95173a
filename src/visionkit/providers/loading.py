"""The loader of a vendor's models: one signature for all, from which `load_model` reads the options that it takes."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import SecretStr

from .hosted import CONCURRENCY, MAX_ATTEMPTS, TIMEOUT_SECONDS, Connection, HostedModel, Wire


def loader(wire: Wire) -> Callable[..., HostedModel]:
    """What the registry calls for a vendor's models."""

    def load(
        name: str,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_attempts: int = MAX_ATTEMPTS,
        concurrency: int = CONCURRENCY,
    ) -> HostedModel:
        """A model of the vendor's by its name there; see `Connection` for the options."""
        connection = Connection(
            api_key=api_key,
            base_url=base_url,
            timeout_seconds=timeout_seconds,
            max_attempts=max_attempts,
            concurrency=concurrency,
        )
        return HostedModel(wire, name, connection)

    return load
