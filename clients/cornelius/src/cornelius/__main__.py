"""`python -m cornelius listen URL PATH…`: print what happens on paths, one JSON object a line, as it comes."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from cornelius.errors import CorneliusError
from cornelius.listener import Gap, Listener, Update

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; a wrong one ends with status 2."""
    options = _parser().parse_args(arguments)
    try:
        return _listen(options)
    except CorneliusError as error:
        _say(f"error: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; Python's own flush at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _listen(options: argparse.Namespace) -> int:
    printed = 0
    with Listener(
        options.url,
        options.paths,
        app=options.app,
        timeout_seconds=options.timeout,
        on_gap=_report_gap,
        on_reset=_report_reset,
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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cornelius", description="Talk to Roots.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listen = commands.add_parser(
        "listen",
        help="print updates as they come",
        description='Print each update as a line of JSON, {"path": …, "message": …}. Other news go to standard error.',
        epilog="Exit status: 0 done, 1 refused or failed, 2 wrong usage.",
    )
    listen.add_argument("url", type=_url, metavar="URL", help="where Roots is, as http://localhost:4020")
    listen.add_argument("paths", nargs="+", metavar="PATH", help="what to listen to")
    listen.add_argument("--app", default="tasks", help="the application that connects the paths (default: %(default)s)")
    listen.add_argument("--count", type=_positive_int, metavar="N", help="end after N lines")
    listen.add_argument("--timeout", type=_positive_seconds, metavar="S", help="end after S seconds")
    listen.add_argument("--all", action="store_true", help="print confirmations and disconnects too")
    return parser


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is no http or https URL")
    return text


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
