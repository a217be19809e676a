"""`python -m cornelius`: listen as a browser does; publish, explain, connect and disconnect as a back end does.

A key is never on the command line, where every user of the machine could read it.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cornelius.backend_api import Dudley
from cornelius.errors import ConfigurationError, CorneliusError, Failure, LineError, PublishError
from cornelius.lines import Line, read_argument, read_blocks, read_line
from cornelius.listener import Gap, Listener, Update
from cornelius.messages import Publishable
from cornelius.settings import DEFAULT_URL, KEY_VARIABLE, URL_VARIABLE, check_header, read_key_file
from cornelius.transport import check_url

OUTBOX = "outbox"
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; a wrong one ends with status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if list(arguments[:1]) == [OUTBOX]:
            return _outbox(arguments[1:])
        options = _parser().parse_args(arguments)
        status: int = options.run(options)
    except ConfigurationError as error:
        _say(f"error: {error}")
        return EXIT_USAGE
    except CorneliusError as error:
        _say(f"error: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; Python's own flush at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return status


def _outbox(arguments: Sequence[str]) -> int:
    """Run a command of the outbox, which has dependencies of its own."""
    try:
        commands = importlib.import_module("roots_outbox.application.commands")
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the outbox lacks {error.name}; install cornelius[outbox]") from error
    return int(commands.main(arguments))


def _listen(options: argparse.Namespace) -> int:
    printed = 0
    with Listener(
        options.url,
        options.paths,
        app=options.app,
        headers=dict(options.header),
        timeout_seconds=options.timeout,
        on_gap=_report_gap,
        on_reset=_report_reset,
        on_waiting=_report_waiting,
    ) as listener:
        for update in listener:
            if options.all or not (update.is_confirmation or update.is_withdrawal):
                print(json.dumps({"path": update.path, "message": update.message}), flush=True)
                printed += 1
            else:
                _report_notice(update)
            if printed == options.count:
                return 0
    if options.count is not None:
        _say(f"error: {printed} of {options.count} updates came in time")
        return EXIT_FAILED
    return 0


def _report_notice(update: Update) -> None:
    _say(f"disconnected {update.message}" if update.is_withdrawal else f"connected {update.path}")


def _report_gap(gap: Gap) -> None:
    _say(f"updates of {gap.path} are lost: {gap.reason}")


def _report_reset() -> None:
    _say("Roots had forgotten this client; its paths are connected again")


def _report_waiting(reason: str | None) -> None:
    _say("going on" if reason is None else f"waiting: {reason}")


def _publish(options: argparse.Namespace) -> int:
    dudley = _dudley(options)
    if options.message is not None:
        return _publish_block(dudley, [read_argument(options.path, options.message)])
    status = 0
    for lines in read_blocks(None if sys.stdin is None else sys.stdin.buffer):
        status |= _publish_lines(dudley, lines, options.path)
    return status


def _publish_lines(dudley: Dudley, lines: list[Line], path: str | None) -> int:
    """Publish the lines; when one is no message, those before it. Errors: LineError for that one."""
    messages: list[Publishable] = []
    try:
        for line in lines:
            messages.append(read_line(line, path))  # noqa: PERF401  # what was read before an error counts
    except LineError:
        _publish_block(dudley, messages)
        raise
    return _publish_block(dudley, messages)


def _publish_block(dudley: Dudley, messages: list[Publishable]) -> int:
    failures: list[Failure] = []
    try:
        published = dudley.updates(messages)
    except PublishError as error:
        published, failures = error.published, error.failures
    for item in published:
        print(json.dumps({"path": item.path, "seq": item.seq}))
    # Once for all lines that came together, so that a reader gets them at once.
    sys.stdout.flush()
    for failure in failures:
        _say(f"error: not published on {failure.message.path!r}: {failure.detail}")
    return EXIT_FAILED if failures else 0


def _explain(options: argparse.Namespace) -> int:
    print(json.dumps(_dudley(options).explain(options.uid, path=options.path), indent=2))
    return 0


def _connect(options: argparse.Namespace) -> int:
    _dudley(options).connect(options.uid, options.paths)
    return 0


def _disconnect(options: argparse.Namespace) -> int:
    _dudley(options).disconnect(options.uid, options.paths)
    return 0


def _dudley(options: argparse.Namespace) -> Dudley:
    key = None if options.key_file is None else read_key_file(options.key_file)
    return Dudley(url=options.backend_api, key=key, timeout_seconds=options.timeout)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cornelius",
        description="Talk to Roots.",
        epilog="Exit status: 0 done, 1 refused or failed, 2 wrong usage.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_listen(commands.add_parser("listen", help="print updates as they come"))
    publish = commands.add_parser("publish", help="publish a message, or each line of standard input")
    publish.description = (
        'Publish MESSAGE on PATH and print {"path": …, "seq": …}. Without MESSAGE each line of standard input is one;'
        ' without PATH too, each line is {"path": …, "message": …} as listen prints it, maybe with an "id": the same id'
        " is published once. Lines are UTF-8."
    )
    publish.add_argument("path", nargs="?", metavar="PATH")
    publish.add_argument("message", nargs="?", metavar="MESSAGE")
    publish.set_defaults(run=_publish)
    commands.add_parser(OUTBOX, help="publish what an application commits to its own Postgres")
    explain = commands.add_parser("explain", help="show what a client may receive, and why not")
    explain.add_argument("uid", metavar="UID")
    explain.add_argument("--path", metavar="PATH", help="show whether it may receive this one, and by which rule")
    explain.set_defaults(run=_explain)
    connect = commands.add_parser("connect", help="connect a client to paths")
    connect.set_defaults(run=_connect)
    disconnect = commands.add_parser("disconnect", help="disconnect a client from paths")
    disconnect.set_defaults(run=_disconnect)
    for command in (connect, disconnect):
        command.add_argument("uid", metavar="UID")
        command.add_argument("paths", nargs="+", metavar="PATH")
    for command in (publish, explain, connect, disconnect):
        _add_backend_api(command)
    return parser


def _add_listen(listen: argparse.ArgumentParser) -> None:
    listen.description = (
        'Print each update as a line of JSON, {"path": …, "message": …}. Other news go to standard error.'
    )
    listen.add_argument("url", type=_url, metavar="URL", help="where Roots is, as http://localhost:4020")
    listen.add_argument("paths", nargs="+", metavar="PATH", help="what to listen to")
    listen.add_argument("--app", default="tasks", help="the application that connects the paths (default: %(default)s)")
    header_help = "send this header to the application; `@FILE` reads headers from a file, one a line"
    listen.add_argument("--header", action=_AddHeader, default=[], metavar="'NAME: VALUE'", help=header_help)
    listen.add_argument("--count", type=_positive_int, metavar="N", help="end after N lines")
    listen.add_argument("--timeout", type=_positive_seconds, metavar="S", help="end after S seconds")
    listen.add_argument("--all", action="store_true", help="print confirmations and disconnects too")
    listen.set_defaults(run=_listen)


def _add_backend_api(command: argparse.ArgumentParser) -> None:
    default_url, default_key = f"{URL_VARIABLE}, else {DEFAULT_URL}", f"{KEY_VARIABLE}, or {KEY_VARIABLE}_FILE"
    command.add_argument("--backend-api", type=_url, metavar="URL", help=f"the back-end API (default: {default_url})")
    command.add_argument("--key-file", metavar="FILE", help=f"has the back end's key (default: {default_key})")
    command.add_argument("--timeout", type=_positive_seconds, metavar="S", help="give up after S seconds (default: 15)")


class _AddHeader(argparse.Action):
    """Adds a header, or those of a file."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        _option: str | None = None,
    ) -> None:
        text = str(values)
        try:
            # Other users of the machine can read arguments.
            lines = Path(text[1:]).read_text("utf-8").splitlines() if text.startswith("@") else [text]
            headers = [_read_header(line) for line in lines if line.strip()]
        except (OSError, ValueError, ConfigurationError) as error:
            parser.error(f"--header: {error}")
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), *headers])


def _read_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ConfigurationError("a header is NAME: VALUE")
    check_header(name.strip(), value.strip())
    return name.strip(), value.strip()


def _url(text: str) -> str:
    try:
        return check_url(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _positive_seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError("more than 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
