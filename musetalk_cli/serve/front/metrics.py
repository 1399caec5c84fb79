"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCIES_S = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0)


class Metrics:
    """Counters of the server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions = Gauge("musetalk_sessions", "Sessions that live now.", registry=self.registry)
        self.opened = Counter("musetalk_sessions_opened", "Sessions that became ready.", registry=self.registry)
        self.closed = Counter(
            "musetalk_sessions_closed", "Sessions that ended, by reason.", ["reason"], registry=self.registry
        )
        self.refused = Counter("musetalk_refusals", "Requests refused, by reason.", ["reason"], registry=self.registry)
        self.frames = Counter("musetalk_frames", "Frames made, counted by their fragments.", registry=self.registry)
        self.held = Counter(
            "musetalk_frames_held", "Frames that repeated the one before: too slow.", registry=self.registry
        )
        self.sent = Counter("musetalk_video_bytes", "Bytes of video made.", registry=self.registry)
        self.received = Counter("musetalk_audio_bytes", "Bytes of PCM received.", registry=self.registry)
        self.viewers = Gauge("musetalk_viewers", "Viewers of sessions that watch now.", registry=self.registry)
        self.dropped = Counter(
            "musetalk_viewers_dropped", "Viewers given up because they were too slow.", registry=self.registry
        )
        self.workers = Gauge(
            "musetalk_worker_processes", "Processes of the workers and their host.", registry=self.registry
        )
        self.restarts = Gauge(
            "musetalk_worker_restarts", "How often the workers' host was started again.", registry=self.registry
        )
        self.rss = Gauge(
            "musetalk_worker_rss_bytes",
            "Resident memory of the workers, shared pages each time.",
            registry=self.registry,
        )
        self.pss = Gauge(
            "musetalk_worker_pss_bytes", "Resident memory of the workers, shared pages once.", registry=self.registry
        )
        self.latency = Histogram(
            "musetalk_latency_seconds",
            "From the arrival of a frame's audio to its fragment, one sample a second and session.",
            buckets=LATENCIES_S,
            registry=self.registry,
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
