//! A faulty TCP proxy: cuts, stalls, resets in mid-frame, half-opens.
