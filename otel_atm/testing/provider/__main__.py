"""`python -m otel_atm.testing.provider`: the provider on its own."""

from __future__ import annotations

import threading

import click

from otel_atm.testing.provider.server import ProviderServer


@click.command()
@click.option("--port", default=8080, show_default=True, help="TCP port, 0 for a free one.")
def main(port: int) -> None:
    """Serve look-alikes of providers on 127.0.0.1 until interrupted."""
    with ProviderServer(port=port) as server:
        click.echo(f"OpenAI     {server.openai_url}")
        click.echo(f"Anthropic  {server.anthropic_url}")
        click.echo(f"Gemini     {server.gemini_url}")
        click.echo(f"Cohere     {server.cohere_url}")
        click.echo(f"Ollama     {server.ollama_url}")
        click.echo(f"Mistral    {server.mistral_url}")
        threading.Event().wait()


if __name__ == "__main__":
    main()
