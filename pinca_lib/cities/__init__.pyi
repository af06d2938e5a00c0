from .editing import (
    brush as brush,
)
from .editing import (
    build as build,
)
from .editing import (
    clear as clear,
)
from .editing import (
    turn_wind as turn_wind,
)
