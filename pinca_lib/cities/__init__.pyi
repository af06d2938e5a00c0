from .building_files import (
    write_buildings as write_buildings,
)
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
from .loading import (
    load_city as load_city,
)
from .place import (
    Bounds as Bounds,
    Grid as Grid,
    Place as Place,
)
from .prediction import (
    WindMaps as WindMaps,
    predict_wind as predict_wind,
)
from .reference_wind import (
    FIELD_FRICTION_VELOCITY as FIELD_FRICTION_VELOCITY,
    ROUGHNESSES as ROUGHNESSES,
    FrictionVelocity as FrictionVelocity,
    friction_velocity as friction_velocity,
    wind_directions as wind_directions,
)
