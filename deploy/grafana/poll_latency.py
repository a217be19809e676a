"""*Poll latency*: how long users wait for a change, and where that time goes."""

from deploy.grafana.panels import Dashboard, Panel, Query, Row
from deploy.grafana.promql import quantile, rate

# The part of deliveries that may be late, and what a delivery may take. Source: deploy/prometheus/rules/recording.yml.
_LATE_ALLOWED = 0.01
_WAITS = (("green", None), ("orange", 0.1), ("red", 0.25))
_CHOSEN = '{instance=~"$replica"}'


def _quantile(part: float, metric: str, *by: str) -> str:
    return quantile(part, f"roots_longpoll_{metric}", *by, selector=_CHOSEN)


def _rate(metric: str, *by: str) -> str:
    return rate(f"roots_longpoll_{metric}", *by, selector=_CHOSEN)


def _burn(window: str) -> Query:
    return Query(expr=f"roots:delivery_late:ratio_rate{window} / {_LATE_ALLOWED}", legend=f"over {window}")


_OBJECTIVE = Row(
    title="The objective: 99 % of deliveries within 250 ms, over 30 days",
    panels=[
        Panel(
            title="Within 250 ms",
            description="The part of deliveries of the last 30 days, or since there are figures, that were in time.",
            kind="stat",
            unit="percentunit",
            decimals=2,
            width=4,
            height=6,
            queries=[Query(expr="1 - roots:delivery_late:ratio_rate30d")],
            thresholds=[("red", None), ("orange", 0.99), ("green", 0.995)],
        ),
        Panel(
            title="Budget left",
            description="What is left of the 1 % of deliveries that may be late in 30 days. Below 0 the objective is"
            " missed.",
            kind="stat",
            unit="percentunit",
            decimals=0,
            width=4,
            height=6,
            queries=[Query(expr=f"1 - roots:delivery_late:ratio_rate30d / {_LATE_ALLOWED}")],
            thresholds=[("red", None), ("orange", 0), ("green", 0.25)],
        ),
        Panel(
            title="p99 now",
            description="Ninety-nine of a hundred deliveries of the last five minutes took at most so long.",
            kind="stat",
            unit="s",
            width=4,
            height=6,
            queries=[Query(expr="roots:delivery_seconds:p99_rate5m")],
            thresholds=_WAITS,
        ),
        Panel(
            title="How fast the budget burns",
            description="1 uses it up in exactly 30 days. Above 14.4 for an hour, or 6 for six, somebody is paged.",
            unit="none",
            height=6,
            queries=[_burn("5m"), _burn("1h"), _burn("6h")],
            thresholds=[("green", None), ("orange", 6), ("red", 14.4)],
            has_limits=True,
        ),
    ],
)

_DELIVERY = Row(
    title="Delivery: from the commit to the write of the answer of a held poll",
    panels=[
        Panel(
            title="Delivery time",
            description="Only polls that were held when the event came: how long a client stayed away is shown below. "
            "With tracing on, points are single deliveries, and name their traces.",
            unit="s",
            is_logarithmic=True,
            queries=[
                Query(expr=_quantile(0.5, "delivery_seconds"), legend="p50"),
                Query(expr=_quantile(0.9, "delivery_seconds"), legend="p90"),
                Query(expr=_quantile(0.99, "delivery_seconds"), legend="p99", has_exemplars=True),
            ],
            thresholds=_WAITS,
            has_limits=True,
        ),
        Panel(
            title="All delivery times",
            description="How many deliveries took how long. Two bands are two groups of clients, or two kinds of days.",
            kind="heatmap",
            unit="s",
            queries=[
                Query(expr=f"sum by (le) (increase(roots_longpoll_delivery_seconds_bucket{_CHOSEN}[$__rate_interval]))")
            ],
        ),
    ],
)

_MEAN = f"({_rate('stage_seconds_sum', 'stage')} / {_rate('stage_seconds_count', 'stage')})"
_STAGES = Row(
    title="Where the time goes",
    panels=[
        Panel(
            title="Mean by stage",
            description="The stages follow each other, so their means add up to the mean delivery. commit_to_broker is "
            "the outbox, the relay and NATS's disk; broker_to_replica the network; replica_to_write the turn of each "
            "client.",
            unit="s",
            width=8,
            is_logarithmic=True,
            queries=[Query(expr=_MEAN, legend="{{stage}}")],
        ),
        Panel(
            title="Share of each stage",
            description="Of the mean delivery.",
            unit="percentunit",
            width=8,
            is_stacked=True,
            queries=[Query(expr=f"{_MEAN} / on () group_left sum({_MEAN})", legend="{{stage}}")],
        ),
        Panel(
            title="p99 by stage",
            description="The slowest hundredth of each stage. These do not add up: they are of different deliveries.",
            unit="s",
            width=8,
            is_logarithmic=True,
            queries=[Query(expr=_quantile(0.99, "stage_seconds", "stage"), legend="{{stage}}")],
        ),
    ],
)

_REPLICAS = Row(
    title="By replica",
    panels=[
        Panel(
            title="p99 by replica",
            description="One line above the others is one bad machine; all together are NATS, or too few replicas.",
            unit="s",
            is_logarithmic=True,
            queries=[Query(expr=_quantile(0.99, "delivery_seconds", "instance"), legend="{{instance}}")],
            thresholds=_WAITS,
            has_limits=True,
        ),
        Panel(
            title="Deliveries by replica",
            description="Events written to clients each second: one for each event and client.",
            unit="ops",
            is_stacked=True,
            queries=[
                Query(
                    expr=_rate("deliveries_total", "instance"),
                    legend="{{instance}}",
                )
            ],
        ),
    ],
)

_HOLDS = Row(
    title="Holds: how long a poll waits is no latency",
    panels=[
        Panel(
            title="Ends of holds",
            description="Polls that ended each second, by how: event and grant are news, timeout is none within the "
            "hold, gone a client that left, superseded its own next poll, drain a replica that stops.",
            unit="ops",
            width=8,
            is_stacked=True,
            queries=[
                Query(
                    expr=_rate("hold_seconds_count", "outcome"),
                    legend="{{outcome}}",
                )
            ],
        ),
        Panel(
            title="Time held, by outcome",
            description="The median. timeout is at 0.8 to 1.0 of ROOTS_HOLD_SECONDS; below that a proxy cuts polls "
            "off.",
            unit="s",
            width=8,
            queries=[Query(expr=_quantile(0.5, "hold_seconds", "outcome"), legend="{{outcome}}")],
        ),
        Panel(
            title="Events found by late polls",
            description="How old events were that a poll found when it came: the time that its client was away for, "
            "between two polls or for days.",
            unit="s",
            width=8,
            is_logarithmic=True,
            queries=[
                Query(expr=_quantile(0.5, "catch_up_seconds"), legend="p50"),
                Query(expr=_quantile(0.99, "catch_up_seconds"), legend="p99"),
            ],
        ),
    ],
)

POLL_LATENCY = Dashboard(
    uid="roots-poll-latency",
    title="Roots: Poll latency",
    description="How long users wait for a change, and where that time goes.",
    has_replicas=True,
    rows=[_OBJECTIVE, _DELIVERY, _STAGES, _REPLICAS, _HOLDS],
)
