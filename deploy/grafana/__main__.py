"""Writes the dashboards that Grafana provisions: `python -m deploy.grafana`. A test fails when they are not current."""

from deploy.grafana.build import written

if __name__ == "__main__":
    for file in written():
        print(file)
