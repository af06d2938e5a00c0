from .editing import (
    brush as brush,
    build as build,
    clear as clear,
    turn_wind as turn_wind,
)
from .export import (
    write_geotiff as write_geotiff,
    write_maps as write_maps,
    write_polygons as write_polygons,
)
from .prediction import (
    WindMaps as WindMaps,
    predict_wind as predict_wind,
)
