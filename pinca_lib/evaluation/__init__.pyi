from .applicability import (
    doubts as doubts,
)
from .healing import (
    healing_errors as healing_errors,
)
from .metrics import (
    ScaledPhysicsMetrics as ScaledPhysicsMetrics,
)
from .scores import (
    MeanFlow as MeanFlow,
)
from .scores import (
    correlation as correlation,
)
from .scores import (
    direction_error as direction_error,
)
from .scores import (
    distance_to_buildings as distance_to_buildings,
)
from .scores import (
    evaluate as evaluate,
)
from .scores import (
    fac2 as fac2,
)
from .scores import (
    hit_rate as hit_rate,
)
from .scores import (
    layout_distance as layout_distance,
)
from .scores import (
    median as median,
)
from .scores import (
    r2 as r2,
)
from .scores import (
    relative_l2 as relative_l2,
)
from .scores import (
    scores as scores,
)
from .scores import (
    violations as violations,
)
from .scores import (
    with_median as with_median,
)
