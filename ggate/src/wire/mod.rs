//! The protocol between ggatec and ggated.
