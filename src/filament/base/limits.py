"""Every limit on what a caller or a peer may make us hold, in one place. Each has a test."""

MAX_REQUEST_BYTES = 1_024_000  # contrail-api's max_request_size
MAX_JSON_DEPTH = 64
MAX_STANZA_BYTES = 1_048_576  # one XMPP stanza from an agent
MAX_CONTROL_STANZA_BYTES = 16_777_216  # one from a control node: an object is never cut in two
MAX_STANZA_DEPTH = 32
MAX_STANZA_ATTRIBUTES = 64
MAX_OUTPUT_QUEUE_BYTES = 64 * 1024 * 1024  # to one XMPP peer; beyond it the peer is dropped
MAX_AGENTS = 10_000
MAX_AGENT_SUBSCRIPTIONS = 100_000  # machines and instances of one agent
MAX_AGENT_ROUTES = 1_000_000  # published by one agent
MAX_ACL_RULES = 1024  # per access control list in the data plane
WATCH_BACKLOG_COMMITS = 10_000  # a watcher further behind is told to list again
MAX_WATCHES = 10_000  # open change streams of one API process
MAX_WATCH_CHUNK_BYTES = 262_144  # written to one watcher at once, unless one commit is larger
MAX_TRANSACTION_OPERATIONS = 1_000
MAX_ADDRESSES_AT_ONCE = 1_000  # of one ip-alloc
MAX_HEADER_BYTES = 65_536  # request line and headers
REQUEST_HEAD_TIMEOUT_S = 20.0  # from the first byte (or the connection) to the end of the headers
REQUEST_BODY_TIMEOUT_S = 60.0  # from the end of the headers to the end of the body
MAX_RESTORE_BYTES = 1 << 30  # a whole configuration to restore
MAX_BGP_CONNECTIONS = 2_000  # of all peers together, those that collide included
MAX_BGP_PEER_ROUTES = 1_000_000  # of one family, unless its session says otherwise
MAX_BGP_ATTRIBUTE_SETS_CACHED = 65_536  # decoded attribute sets that one session remembers
MAX_INTROSPECT_ANSWERS = 8  # being written at once by one process
INTROSPECT_TIMEOUT_S = 60.0  # for one answer, its reader's slowness included
MAX_INTROSPECT_ROWS = 1000  # in one message; longer answers continue in the next
