from .editing import (
    brush as brush,
    build as build,
    clear as clear,
    turn_wind as turn_wind,
)
