"""What a control node may be asked (port 8083), by TF's names and field numbers."""

from __future__ import annotations

from filament.wire.sandesh.common import COMMON
from filament.wire.sandesh.schema import Schema

_STATE = """
module bgp_peer: neighbours, routing instances, routes
request BgpNeighborReq(search_string string): neighbours (BGP routers and agents) in full
request BgpNeighborReqIterate(cursor string): the next of them
request ShowBgpNeighborSummaryReq(search_string string): neighbours in short
request ShowBgpNeighborSummaryReqIterate(cursor string): the next of them
request ShowRoutingInstanceReq(search_string string): routing instances in full
request ShowRoutingInstanceReqIterate(cursor string): the next of them
request ShowRoutingInstanceSummaryReq(search_string string): routing instances in short
request ShowRoutingInstanceSummaryReqIterate(cursor string): the next of them
request ShowRouteSummaryReq(search_string string): tables with the number of their routes
request ShowRouteSummaryReqIterate(cursor string): the next of them
request ShowRouteReq(
    routing_table string, routing_instance string, prefix string, longer_match bool,
    shorter_match bool, count u32, start_routing_table string, start_routing_instance string,
    start_prefix string, source string, protocol string, family string): routes with every path
request ShowRouteReqIterate(cursor string): the next of them
request ShowRtGroupReq(search_string string): route targets, who imports and exports them
request ShowRtGroupReqIterate(cursor string): the next of them
request ShowRtGroupSummaryReq(search_string string): route targets in short
request ShowRtGroupSummaryReqIterate(cursor string): the next of them
request ShowBgpServerReq: what went over the sessions
request ShowMulticastManagerReq(search_string string): multicast tables
request ShowMulticastManagerDetailReq(name string): the trees of a multicast table

response BgpNeighborListResp(
    1 neighbors list<BgpNeighborResp>, 2 next_batch string? >BgpNeighborReqIterate)
response ShowBgpNeighborSummaryResp(
    1 neighbors list<BgpNeighborResp>, 2 next_batch string? >ShowBgpNeighborSummaryReqIterate)
struct BgpNeighborResp(
    53 instance_name string >ShowRoutingInstanceReq, 1 peer string >BgpNeighborReq, 36 deleted bool,
    2 peer_address string >BgpNeighborReq, 25 peer_id string, 3 peer_asn u32, 6 encoding string,
    7 peer_type string, 8 state string, 43 closed_at string, 52 router_type string,
    47 admin_down bool, 48 passive bool, 55 as_override bool, 65 origin_override bool,
    66 route_origin string, 67 as4_supported bool, 61 private_as_action string, 62 send_ready bool,
    50 peer_port u32, 51 transport_address string, 4 local_address string, 26 local_id string,
    5 local_asn u32, 64 cluster_id string, 56 task_instance u32, 9 send_state string?,
    10 last_event string?, 11 last_state string?, 12 last_state_at string?, 13 last_error string?,
    44 auth_type string?, 38 configured_address_families list<string>?,
    39 negotiated_address_families list<string>?,
    57 graceful_restart_address_families list<string>?,
    58 long_lived_graceful_restart_address_families list<string>?,
    49 family_attributes_list list<ShowBgpNeighborFamily>?, 59 graceful_restart_time u16?,
    60 long_lived_graceful_restart_time u32?, 40 configured_hold_time u32?,
    41 negotiated_hold_time u32, 46 primary_path_count u32, 23 flap_count u64?,
    24 flap_time string?, 37 routing_instances list<BgpNeighborRoutingInstance>?,
    29 routing_tables list<BgpNeighborRoutingTable>?, 30 rx_proto_stats PeerProtoStats?,
    31 tx_proto_stats PeerProtoStats?, 32 rx_update_stats PeerUpdateStats?,
    33 tx_update_stats PeerUpdateStats?)
struct ShowBgpNeighborFamily(
    1 family string, 2 loop_count u32, 3 prefix_limit u32, 5 idle_timeout i32,
    4 gateway_address string)
struct BgpNeighborRoutingInstance(
    1 name string >ShowRoutingInstanceReq, 2 state string, 3 index u32,
    4 import_targets list<string>)
struct BgpNeighborRoutingTable(
    1 name string >ShowRouteReq, 2 current_state string, 3 current_request string,
    4 pending_request string)
struct PeerProtoStats(
    1 total u64, 2 open u64, 3 keepalive u64, 4 notification u64, 5 update u64, 6 close u64)
struct PeerUpdateStats(1 total u64, 2 reach u64, 3 unreach u64, 4 end_of_rib u64)

response ShowRoutingInstanceResp(
    1 instances list<ShowRoutingInstance>, 2 next_batch string? >ShowRoutingInstanceReqIterate)
response ShowRoutingInstanceSummaryResp(
    1 instances list<ShowRoutingInstance>,
    2 next_batch string? >ShowRoutingInstanceSummaryReqIterate)
struct ShowRoutingInstance(
    1 name string >ShowRoutingInstanceReq, 3 virtual_network string, 6 vn_index i32,
    8 vxlan_id i32, 4 import_target list<string>, 5 export_target list<string>,
    10 always_subscribe bool, 12 allow_transit bool, 13 pbb_evpn_enable bool, 7 deleted bool,
    9 deleted_at string, 2 tables list<ShowRoutingInstanceTable>?,
    11 routing_policies list<ShowInstanceRoutingPolicyInfo>?, 14 neighbors list<string>?)
struct ShowInstanceRoutingPolicyInfo(1 policy_name string, 2 generation u32)
struct ShowRoutingInstanceTable(
    1 name string >ShowRouteReq, 13 deleted bool, 3 prefixes u64, 4 paths u64,
    5 primary_paths u64, 6 secondary_paths u64, 7 infeasible_paths u64, 18 stale_paths u64,
    19 llgr_stale_paths u64, 8 walk_requests u64, 16 walk_again_requests u64, 17 actual_walks u64,
    9 walk_completes u64, 10 walk_cancels u64, 11 pending_updates u64, 12 markers u64,
    14 listeners u64, 15 walkers u64, 2 membership ShowTableMembershipInfo)
struct ShowTableMembershipInfo(1 requests u32, 2 walks u32, 3 peers list<ShowMembershipPeerInfo>)
struct ShowMembershipPeerInfo(
    1 peer string, 2 ribout_registered bool, 3 ribin_registered bool, 4 instance_id u32,
    5 generation_id u64)

response ShowRouteSummaryResp(
    1 tables list<ShowRouteTableSummary>, 2 next_batch string? >ShowRouteSummaryReqIterate)
struct ShowRouteTableSummary(
    1 name string >ShowRouteReq, 3 prefixes u64, 4 paths u64, 5 primary_paths u64,
    6 secondary_paths u64, 7 infeasible_paths u64, 18 stale_paths u64, 19 llgr_stale_paths u64,
    8 walk_requests u64, 16 walk_again_requests u64, 9 walk_completes u64, 17 actual_walks u64,
    10 walk_cancels u64, 11 pending_updates u64, 12 markers u64, 14 listeners u64, 15 walkers u64,
    2 deleted bool, 13 deleted_at string)

response ShowRouteResp(
    1 tables list<ShowRouteTable>, 2 next_batch string? >ShowRouteReqIterate)
struct ShowRouteTable(
    1 routing_instance string >ShowRoutingInstanceReq, 2 routing_table_name string >ShowRouteReq,
    9 deleted bool, 11 deleted_at string, 3 prefixes u64, 4 paths u64, 5 primary_paths u64,
    6 secondary_paths u64, 7 infeasible_paths u64, 12 stale_paths u64, 13 llgr_stale_paths u64,
    8 routes list<ShowRoute>, 10 listeners list<ShowTableListener>)
struct ShowTableListener(1 id u32, 2 name string, 3 state_count u64)
struct ShowRoute(1 prefix string, 2 last_modified string, 3 paths list<ShowRoutePath>)
struct ShowRoutePath(
    1 protocol string, 3 last_modified string, 5 local_preference u32, 25 med u32, 6 local_as u32,
    7 peer_as u32, 8 peer_router_id string, 9 source string, 10 as_path string, 30 as4_path string,
    11 next_hop string, 12 label u32, 26 origin string, 13 replicated bool,
    14 primary_table string >ShowRouteReq, 24 secondary_tables list<string>,
    15 communities list<string>, 16 origin_vn string, 17 flags list<string>,
    18 tunnel_encap list<string>, 19 sequence_no string, 20 origin_vn_path list<string>,
    21 pmsi_tunnel ShowPmsiTunnel, 22 load_balance ShowLoadBalance, 23 cluster_list list<string>,
    27 originator_id string, 28 edge_discovery list<ShowEdgeDiscovery>,
    29 edge_forwarding list<ShowEdgeForwarding>)
struct ShowPmsiTunnel(
    1 type string, 2 ar_type string, 3 identifier string, 4 label u32, 5 flags list<string>)
struct ShowLoadBalance(1 decision_type string, 2 fields list<string>)
struct ShowEdgeDiscovery(1 address string, 2 labels string)
struct ShowEdgeForwarding(1 in_address_label string, 2 out_address_label string)
struct ShowRouteBrief(1 prefix string, 2 paths list<ShowRoutePathBrief>)
struct ShowRoutePathBrief(
    1 protocol string, 2 local_preference u32, 6 med u32, 3 source string, 4 next_hop string,
    5 label u32)

response ShowRtGroupResp(
    1 rtgroup_list list<ShowRtGroupInfo>, 2 next_batch string? >ShowRtGroupReqIterate)
response ShowRtGroupSummaryResp(
    1 rtgroup_list list<ShowRtGroupInfo>, 2 next_batch string? >ShowRtGroupSummaryReqIterate)
struct ShowRtGroupInfo(
    1 rtarget string >ShowRtGroupReq, 2 import_members list<ShowRtGroupMemberTableList>,
    3 export_members list<ShowRtGroupMemberTableList>, 4 peers_interested list<string>?,
    5 dep_route list<string>?)
struct ShowRtGroupMemberTableList(1 family string, 2 tables list<string>)

response ShowBgpServerResp(1 rx_socket_stats SocketIOStats, 2 tx_socket_stats SocketIOStats)
struct SocketIOStats(
    1 bytes u64, 2 calls u64, 3 average_bytes double, 4 blocked_duration string,
    5 blocked_count u64, 6 average_blocked_duration string, 7 errors u64)

response ShowMulticastManagerResp(1 managers list<ShowMulticastManager>)
struct ShowMulticastManager(
    1 name string >ShowMulticastManagerDetailReq, 2 total_trees u32, 3 deleted bool,
    4 deleted_at string)
response ShowMulticastManagerDetailResp(1 trees list<ShowMulticastTree>)
struct ShowMulticastTree(
    1 group string, 2 source string, 3 level0_forwarders list<ShowMulticastForwarder>,
    4 level1_forwarders list<ShowMulticastForwarder>)
struct ShowMulticastForwarder(
    1 address string, 2 label_block string, 3 label u32, 5 router_id string,
    4 links list<ShowMulticastTreeLink>)
struct ShowMulticastTreeLink(1 address string, 2 label u32)
"""

_CONFIGURATION = """
module bgp_config: what the configuration asks for
request ShowBgpInstanceConfigReq(search_string string): routing instances as configured
request ShowBgpInstanceConfigReqIterate(cursor string): the next of them
request ShowBgpNeighborConfigReq(search_string string): BGP sessions as configured
request ShowBgpRoutingPolicyConfigReq(search_string string): routing policies as configured
response ShowBgpInstanceConfigResp(
    1 instances list<ShowBgpInstanceConfig>, 2 next_batch string? >ShowBgpInstanceConfigReqIterate)
struct ShowBgpInstanceConfig(
    1 name string >ShowRoutingInstanceReq, 2 virtual_network string, 7 virtual_network_index i32,
    8 vxlan_id i32, 3 import_target list<string>, 4 export_target list<string>, 10 has_pnf bool,
    13 allow_transit bool, 14 pbb_evpn_enable bool, 9 last_change_at string,
    15 neighbors list<string>, 5 service_chain_infos list<ShowBgpServiceChainConfig>,
    6 static_routes list<ShowBgpStaticRouteConfig>,
    11 aggregate_routes list<ShowBgpRouteAggregateConfig>,
    12 routing_policies list<ShowBgpInstanceRoutingPolicyConfig>)
struct ShowBgpServiceChainConfig(
    5 family string, 1 routing_instance string, 2 chain_address string, 3 prefixes list<string>,
    4 service_instance string)
struct ShowBgpStaticRouteConfig(
    1 prefix string, 3 nexthop string, 4 communities list<string>, 2 targets list<string>)
struct ShowBgpRouteAggregateConfig(1 prefix string, 2 nexthop string)
struct ShowBgpInstanceRoutingPolicyConfig(
    1 policy_name string >ShowBgpRoutingPolicyConfigReq, 2 sequence string)
response ShowBgpNeighborConfigResp(1 neighbors list<ShowBgpNeighborConfig>)
struct ShowBgpNeighborConfig(
    1 instance_name string, 2 name string >BgpNeighborReq, 13 admin_down bool, 15 passive bool,
    20 as_override bool, 23 origin_override bool, 24 route_origin string,
    21 private_as_action string, 18 router_type string, 8 local_identifier string, 9 local_as u32,
    3 vendor string, 4 autonomous_system u32, 5 identifier string, 6 address string,
    22 cluster_id string, 19 source_port u32, 14 hold_time i32, 16 loop_count i32,
    10 last_change_at string, 11 auth_type string?, 7 address_families list<string>,
    17 family_attributes_list list<ShowBgpNeighborFamilyConfig>)
struct ShowBgpNeighborFamilyConfig(
    1 family string, 2 loop_count i32, 3 prefix_limit i32, 5 idle_timeout i32,
    4 gateway_address string, 6 default_tunnel_encap_list list<string>)
response ShowBgpRoutingPolicyConfigResp(1 routing_policies list<ShowBgpRoutingPolicyConfig>)
struct ShowBgpRoutingPolicyConfig(1 name string, 2 terms list<ShowBgpRoutingPolicyTermConfig>)
struct ShowBgpRoutingPolicyTermConfig(1 match string?, 2 action string?)

module service_chaining: service chains
request ShowServiceChainReq(search_string string): service chains and their routes
response ShowServiceChainResp(1 service_chain_list list<ShowServicechainInfo>)
struct ShowServicechainInfo(
    7 src_virtual_network string, 8 dest_virtual_network string, 9 service_instance string,
    12 family string, 1 src_rt_instance string, 11 connected_rt_instance string,
    2 dest_rt_instance string, 13 service_chain_addr string, 10 state string,
    14 pending_reason string, 15 service_chain_id string, 3 connected_route ConnectedRouteInfo,
    4 more_specifics list<PrefixToRouteListInfo>,
    5 ext_connecting_rt_info_list list<ExtConnectRouteInfo>, 6 aggregate_enable bool)
struct ConnectedRouteInfo(1 service_chain_addr string, 2 connected_rt ShowRoute)
struct PrefixToRouteListInfo(
    1 prefix string, 2 aggregate bool, 4 aggregate_rt ShowRoute,
    3 more_specific_list list<string>)
struct ExtConnectRouteInfo(1 ext_rt_prefix string, 2 ext_rt_svc_rt ShowRoute)

module static_route: static routes
request ShowStaticRouteReq(search_string string): static routes of routing instances
response ShowStaticRouteResp(1 static_route_entries list<StaticRouteEntriesInfo>)
struct StaticRouteEntriesInfo(1 ri_name string, 2 static_route_list list<StaticRouteInfo>)
struct StaticRouteInfo(
    1 prefix string, 2 static_rt bool, 3 nexthop string, 7 community_list list<string>,
    5 route_target_list list<string>, 6 secondary_tables list<string>, 4 nexthop_rt ShowRouteBrief)

module route_aggregate: route aggregates
request ShowRouteAggregateReq(search_string string): route aggregates of routing instances
response ShowRouteAggregateResp(1 aggregate_route_entries list<AggregateRouteEntriesInfo>)
struct AggregateRouteEntriesInfo(
    2 name string, 4 instance_name string, 5 aggregate_route_list list<AggregateRouteInfo>)
struct AggregateRouteInfo(
    1 prefix string, 2 aggregate_rt ShowRouteBrief, 3 nexthop string, 4 deleted bool,
    5 contributors list<string>?)

module xmpp_server: sessions with agents
request ShowXmppServerReq: what went over the sessions
request ShowXmppConnectionReq: the sessions
response ShowXmppServerResp(
    3 current_connections u32, 4 max_connections u32, 1 rx_socket_stats SocketIOStats,
    2 tx_socket_stats SocketIOStats)
response ShowXmppConnectionResp(1 connections list<ShowXmppConnection>)
struct ShowXmppConnection(
    1 name string, 2 deleted bool, 3 remote_endpoint string, 4 local_endpoint string,
    5 state string, 6 last_event string, 7 last_state string, 8 last_state_at string,
    9 receivers list<string>, 10 server_auth_type string, 11 dscp_value u16)
"""

_DATABASE = """
module ifmap_server_show: the configuration, and what of it agents were sent
request IFMapPeerServerInfoReq: where the configuration comes from
request IFMapXmppClientInfoShowReq: agents, and how much they were sent
request IFMapServerClientShowReq(search_string string): agents with their numbers, and past ones
request IFMapPerClientNodesShowReq(
    client_index_or_name string, search_string string): objects that one agent was sent
request IFMapPerClientNodesShowReqIterate(cursor string): the next of them
request IFMapPerClientLinksShowReq(
    client_index_or_name string, search_string string): links that one agent was sent
request IFMapPerClientLinksShowReqIterate(cursor string): the next of them
request IFMapNodeTableListShowReq: kinds of objects, and how many there are
request IFMapTableShowReq(table_name string, search_string string): objects of one kind or all
request IFMapTableShowReqIterate(cursor string): the next of them
request IFMapNodeShowReq(fq_node_name string): one object, by kind:fq_name
request IFMapLinkTableShowReq(search_string string, metadata string): links between objects
request IFMapLinkTableShowReqIterate(cursor string): the next of them
request IFMapXmppShowReq: agents' subscriptions to configuration
request IFMapPendingVmRegReq: subscriptions to machines that the configuration does not have yet

response IFMapPeerServerInfoResp(
    1 server_info IFMapPeerServerInfoUI, 2 server_conn_info IFMapPeerServerConnInfo,
    3 stats_info IFMapPeerServerStatsInfo, 4 sm_info IFMapStateMachineInfo,
    5 ds_peer_info IFMapDSPeerInfo)
struct IFMapPeerServerConnInfo(
    1 connection_count u64, 2 connection_status string, 3 connection_status_change_at string)
struct IFMapStateMachineInfo(
    1 state string, 2 last_state string, 3 last_state_change_at string, 4 last_event string,
    5 last_event_at string)
struct IFMapDSPeerInfo(1 num_peers i32, 5 static_peer string, 6 current_peer string)
struct IFMapPeerServerInfoUI(
    1 url string, 2 connection_status string, 3 connection_status_change_at string)
struct IFMapPeerServerStatsInfo(1 rx_msgs u64, 2 tx_msgs u64, 3 reconnect_attempts u64)
response IFMapXmppClientInfoShowResp(1 client_stats list<IFMapXmppClientInfo>)
struct IFMapXmppClientInfo(
    1 client_name string, 2 client_index i32, 9 vm_reg_info VmRegInfo, 3 msgs_sent u64,
    4 msgs_blocked u64, 5 update_nodes_sent u64, 10 delete_nodes_sent u64, 6 update_links_sent u64,
    11 delete_links_sent u64, 7 bytes_sent u64, 8 is_blocked bool)
struct VmRegInfo(1 vm_count i32, 2 vm_list list<string>)
response IFMapServerClientShowResp(
    1 name_list IFMapServerShowClientMap, 2 index_list IFMapServerShowIndexMap,
    3 history_list IFMapServerClientHistoryList)
struct IFMapServerShowClientMap(
    1 table_count i32, 2 print_count i32, 3 clients list<IFMapServerClientMapShowEntry>)
struct IFMapServerClientMapShowEntry(
    1 client_name string >IFMapPerClientNodesShowReq, 2 interest_tracker_entries u64,
    3 advertised_tracker_entries u64)
struct IFMapServerShowIndexMap(
    1 table_count i32, 2 print_count i32, 3 clients list<IFMapServerIndexMapShowEntry>)
struct IFMapServerIndexMapShowEntry(1 client_index i32, 2 client_name string)
struct IFMapServerClientHistoryList(
    1 table_count i32, 2 print_count i32, 3 clients list<IFMapServerClientHistoryEntry>)
struct IFMapServerClientHistoryEntry(
    1 client_name string, 2 client_index i32, 3 creation_time_ago string,
    4 deletion_time_ago string)
response IFMapPerClientNodesShowResp(
    1 node_db list<IFMapPerClientNodesShowInfo>,
    2 next_batch string? >IFMapPerClientNodesShowReqIterate)
struct IFMapPerClientNodesShowInfo(
    1 node_name string >IFMapNodeShowReq, 2 sent string, 3 interest_tracked string,
    4 advertised_tracked string)
response IFMapPerClientLinksShowResp(
    1 link_db list<IFMapPerClientLinksShowInfo>,
    2 next_batch string? >IFMapPerClientLinksShowReqIterate)
struct IFMapPerClientLinksShowInfo(
    1 metadata string, 2 left string >IFMapNodeShowReq, 3 right string >IFMapNodeShowReq,
    4 sent string, 5 interest_tracked string, 6 advertised_tracked string)
response IFMapNodeTableListShowResp(1 table_list list<IFMapNodeTableListShowEntry>)
struct IFMapNodeTableListShowEntry(1 table_name string >IFMapTableShowReq, 2 size u32)
response IFMapTableShowResp(
    1 ifmap_db list<IFMapNodeShowInfo>, 2 next_batch string? >IFMapTableShowReqIterate)
struct IFMapNodeShowInfo(
    1 node_name string >IFMapNodeShowReq, 2 interests string, 3 advertised string,
    4 dbentryflags string, 5 obj_info list<IFMapObjectShowInfo>, 6 neighbors list<string>,
    7 last_modified string)
struct IFMapObjectShowInfo(1 sequence_number u64, 2 origin string, 3 data string)
response IFMapNodeShowResp(1 node_info IFMapNodeShowInfo)
response IFMapLinkTableShowResp(
    1 table_size u32, 2 ifmap_db list<IFMapLinkShowInfo>,
    3 next_batch string? >IFMapLinkTableShowReqIterate)
struct IFMapLinkShowInfo(
    1 metadata string, 2 left string >IFMapNodeShowReq, 3 right string >IFMapNodeShowReq,
    4 interests string, 5 advertised string, 6 dbentryflags string, 7 last_modified string,
    8 origins list<IFMapLinkOriginShowInfo>)
struct IFMapLinkOriginShowInfo(1 sequence_number u64, 2 origin string)
response IFMapXmppShowResp(1 channel_manager_info IFMapChannelManagerInfo)
struct IFMapChannelManagerInfo(
    1 channel_manager_stats IFMapChannelManagerStats, 2 channel_manager_map IFMapXmppChannelMapList)
struct IFMapChannelManagerStats(
    1 unknown_subscribe_messages u64, 2 unknown_unsubscribe_messages u64,
    3 duplicate_channel_ready_messages u64, 4 invalid_channel_not_ready_messages u64,
    5 invalid_channel_state_messages u64, 6 invalid_vm_subscribe_messages u64,
    7 vmsub_novrsub_messages u64, 8 vmunsub_novrsub_messages u64, 9 vmunsub_novmsub_messages u64,
    10 duplicate_vrsub_messages u64, 11 duplicate_vmsub_messages u64)
struct IFMapXmppChannelMapList(
    1 channel_count i32, 2 channel_list list<IFMapXmppChannelMapEntry>)
struct IFMapXmppChannelMapEntry(
    1 client_name string, 4 host_name string, 3 channel_name string, 2 client_added bool)
response IFMapPendingVmRegResp(1 map_count i32, 2 vm_reg_map list<IFMapPendingVmRegEntry>)
struct IFMapPendingVmRegEntry(1 vm_uuid string, 2 vr_name string)
"""

_OBSERVATIONS = """
response BGPRouterInfo(1 data BgpRouterState)
struct BgpRouterState(
    1 name string, 2 deleted bool?, 27 router_id string?, 28 local_asn u32?, 29 global_asn u32?,
    30 admin_down bool?, 3 uptime u64?, 7 output_queue_depth u32?, 8 num_bgp_peer u32?,
    9 num_up_bgp_peer u32?, 10 num_xmpp_peer u32?, 11 num_up_xmpp_peer u32?,
    12 num_routing_instance u32?, 23 num_service_chains u32?, 25 num_static_routes u32?,
    13 build_info string?, 15 bgp_router_ip_list list<string>?)
response XMPPPeerInfo(1 data XmppPeerInfoData)
struct XmppPeerInfoData(
    1 name string, 2 deleted bool?, 4 routing_tables list<string>?, 5 flap_info PeerFlapInfo?,
    6 state_info PeerStateInfo?, 7 event_info PeerEventInfo?, 9 close_reason string?,
    10 identifier string?)
response BGPPeerInfo(1 data BgpPeerInfoData)
struct BgpPeerInfoData(
    1 name string, 2 deleted bool?, 23 admin_down bool?, 24 passive bool?, 25 router_type string?,
    3 peer_type string?, 20 peer_address string?, 4 local_asn u32?, 5 peer_asn u32?,
    6 hold_time u32?, 21 configured_families list<string>?, 22 negotiated_families list<string>?,
    15 flap_info PeerFlapInfo?, 16 state_info PeerStateInfo?, 17 event_info PeerEventInfo?,
    18 close_reason string?)
struct PeerFlapInfo(1 flap_count u64?, 2 flap_time u64?)
struct PeerStateInfo(1 state string?, 2 last_state string?, 3 last_state_at u64?)
struct PeerEventInfo(1 last_event string?, 2 last_event_at u64?)
"""

CONTROL = Schema(_STATE, _CONFIGURATION, _DATABASE, _OBSERVATIONS, COMMON)
