"""The studies, by name. One line a study; none of them imports a framework before it measures."""

from bench.studies import capacity, data, forcing, gradients, horizon, init
from bench.studies.study import Study

STUDIES: dict[str, Study] = {
    "data": data.STUDY,
    "init": init.STUDY,
    "forcing": forcing.STUDY,
    "gradients": gradients.STUDY,
    "horizon": horizon.STUDY,
    "capacity": capacity.STUDY,
}
