"""``musetalk serve``: conversations with avatars over WebSockets."""

from __future__ import annotations

from typing import Annotated

import typer

from musetalk_cli import ending
from musetalk_cli.app.settings.flags import print_settings, settings_of, with_settings
from musetalk_cli.commands.common.completion import complete_avatars, complete_setting
from musetalk_cli.commands.options import (
    MODEL_OPTIONS,
    AvatarOption,
    ConfigOption,
    FpsOption,
    PrintConfigOption,
    SilenceGateOption,
    SizeOption,
)

HostOption = Annotated[
    str | None,
    typer.Option("--host", help="Address to bind. Others than this machine's own need --token-file or --no-token."),
]
PortOption = Annotated[int | None, typer.Option("--port", help="Port; 0 takes a free one. [default: 8900]")]
AllowAvatarOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-avatar",
        help="Avatar that clients may name. May be repeated. "
        "[default: nora, theo; on a loopback address without a token the prepared ones, too]",
        autocompletion=complete_avatars,
    ),
]
MaxSessionsOption = Annotated[
    int | None,
    typer.Option("--max-sessions", help="Sessions at a time. [default: what this machine holds, measured]"),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", help="Processes that wait for the next sessions; each session has its own. [default: 2]"),
]
TokenFileOption = Annotated[
    str | None, typer.Option("--token-file", help="File with the token that clients must send.", show_default=False)
]
AllowOriginOption = Annotated[
    list[str] | None,
    typer.Option("--allow-origin", help="Other site whose pages may open sessions. May be repeated. [default: none]"),
]
LogFormatOption = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        help="Log on stderr: text, or json (one object a line).",
        autocompletion=complete_setting("serve.log_format"),
    ),
]

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Have the machines of a Ray cluster serve the sessions: its address, auto, or local.",
        show_default=False,
    ),
]


@with_settings(
    host=HostOption,
    port=PortOption,
    avatar=AvatarOption,
    allow_avatar=AllowAvatarOption,
    **MODEL_OPTIONS,
    silence_gate=SilenceGateOption,
    fps=FpsOption,
    size=SizeOption,
    max_sessions=MaxSessionsOption,
    spare_workers=WorkersOption,
    token_file=TokenFileOption,
    allow_origin=AllowOriginOption,
    log_format=LogFormatOption,
)
def serve(
    context: typer.Context,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let everybody in who reaches the address, without a token.")
    ] = False,
    ray: RayOption = None,
    config: ConfigOption = None,
    print_config: PrintConfigOption = False,
) -> None:
    """Serve live avatars to browsers and programs. One WebSocket protocol for both, until Ctrl-C or SIGTERM."""
    loaded = settings_of(context)
    if print_config:
        return print_settings(loaded)
    try:
        from musetalk_cli.serve.front.server import check_system, run_server
    except ImportError as error:
        from musetalk_cli.errors import ServeError
        from musetalk_cli.installation import install_command

        raise ServeError(f"musetalk serve needs {error.name}", hint=install_command("serve")) from None
    ending.allow(None)  # it lets sessions end, for as long as the settings say
    check_system()
    if ray is None:
        run_server(loaded.config, needs_no_token=no_token)
    else:
        from musetalk_cli.serve.cluster.server import run_cluster_server

        if not run_cluster_server(loaded.config, ray, needs_no_token=no_token):
            ending.leave(0)
    return None
