//! Local media: regular files, block devices, GEOM providers.
