"""PromQL that most panels are made of."""


def rate(metric: str, *by: str, selector: str = "") -> str:
    """Return how fast a counter grows a second, summed by these labels, or as a whole."""
    grouping = f"sum by ({', '.join(by)}) " if by else "sum"
    return f"{grouping}(rate({metric}{selector}[$__rate_interval]))"


def quantile(part: float, metric: str, *by: str, selector: str = "") -> str:
    """Return the time that `part` of what a histogram counted stayed below, by these labels, or of all together."""
    return f"histogram_quantile({part}, {rate(f'{metric}_bucket', 'le', *by, selector=selector)})"
