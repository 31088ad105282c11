//! Page-aligned buffers in size classes, limited in bytes.
