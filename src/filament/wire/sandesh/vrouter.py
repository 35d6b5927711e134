"""What an agent may be asked (port 8085), by TF's names and field numbers.

One difference: a next hop's `mac` is one string, as older agents had it, because readers take the
element's text.
"""

from __future__ import annotations

from filament.wire.sandesh.common import COMMON
from filament.wire.sandesh.schema import Schema

_OPERATIONAL = """
module agent: interfaces, networks, VRFs, routes, next hops, labels, access lists
request ItfReq(
    name string, type string, uuid string, vn string, mac string, ipv4_address string,
    ipv6_address string, parent_uuid string, ip_active string, ip6_active string,
    l2_active string): interfaces
request VnListReq(name string, uuid string, vxlan_id string, ipam_name string): networks
request VrfListReq(name string): VRFs
request Inet4UcRouteReq(
    vrf_index i32, src_ip string, prefix_len u16, stale bool): IPv4 routes of a VRF
request Inet6UcRouteReq(
    vrf_index i32, src_ip string, prefix_len u16, stale bool): IPv6 routes of a VRF
request Inet4McRouteReq(
    vrf_index i32, stale bool, src_ip string, grp_ip string): multicast routes of a VRF
request BridgeRouteReq(vrf_index i32, mac string, stale bool): MAC addresses of a VRF
request Layer2RouteReq(vrf_index i32, mac string, stale bool): MAC addresses of a VRF
request EvpnRouteReq(vrf_index i32, mac string, stale bool): EVPN routes of a VRF
request NhListReq(type string, nh_index string, policy_enabled string): next hops
request MplsReq(type string, label string): MPLS labels
request VxLanReq(vxlan_id string): VXLAN network identifiers
request VxLanConfigReq(vxlan_id string, vn string, active string): those that networks have
request SgListReq(name string): security groups
request AclReq(uuid string): access control lists
request VmListReq(uuid string): virtual machines with a port here
request VrfAssignReq(uuid string): rules that assign a VRF to packets of an interface
request ServiceInstanceReq(uuid string): service instances
request HealthCheckSandeshReq(uuid string): health checks
request BgpAsAServiceSandeshReq(vmi_uuid string): BGP sessions of ports
request LinkLocalServiceInfo: link-local services
request MirrorCfgVnInfoReq(vn_name string): networks that are mirrored
request IntfMirrorCfgDisplayReq(handle string): interfaces that are mirrored
request PageReq(key string): more of a long answer

response Pagination(1 req PageReqData)
struct PageReqData(
    1 prev_page string >PageReq, 2 next_page string >PageReq, 3 first_page string >PageReq,
    4 all string >PageReq, 5 table_size u32, 6 entries string)

response ItfResp(1 itf_list list<ItfSandeshData>)
struct ItfSandeshData(
    1 index i32, 2 name string, 3 uuid string >ItfReq, 4 vrf_name string >VrfListReq,
    5 active string, 49 ipv4_active string?, 28 l2_active string, 35 ip6_active string?,
    53 health_check_active string?, 6 dhcp_service string, 72 dhcp_service_v6 string,
    7 dns_service string, 8 type string, 9 label i32, 25 l2_label i32, 26 vxlan_id i32,
    10 vn_name string >VnListReq, 11 vm_uuid string >VmListReq, 12 vm_name string,
    13 ip_addr string, 14 mac_addr string, 15 policy string,
    16 fip_list list<FloatingIpSandeshList>, 17 mdata_ip_addr string,
    18 service_vlan_list list<ServiceVlanSandeshList>, 19 os_ifindex i32, 20 fabric_port string,
    21 alloc_linklocal_ip string, 22 analyzer_name string, 23 config_name string,
    24 sg_uuid_list list<VmIntfSgUuid>, 27 static_route_list list<StaticRouteSandesh>,
    30 vm_project_uuid string, 31 admin_state string, 32 flow_key_idx i32,
    33 allowed_address_pair_list list<StaticRouteSandesh>?, 34 ip6_addr string?,
    36 local_preference i32, 37 tx_vlan_id i16, 38 rx_vlan_id i16, 39 parent_interface string,
    40 subnet string?, 41 sub_type string?, 42 vrf_assign_acl_uuid string?, 43 vmi_type string?,
    44 transport string, 45 logical_interface_uuid string, 46 flood_unknown_unicast bool?,
    47 physical_device string, 48 physical_interface string, 50 fixed_ip4_list list<string>,
    51 fixed_ip6_list list<string>, 52 fat_flow_list list<string>, 54 metadata_ip_active string?,
    55 service_health_check_ip string?, 56 qos_config string?,
    57 alias_ip_list list<AliasIpSandeshList>, 58 drop_new_flows bool,
    60 vmi_tag_list list<VmiTagData>, 61 policy_set_acl_list list<string>, 63 vhostuser_mode byte,
    64 si_other_end_vmi string, 65 cfg_igmp_enable bool, 66 igmp_enabled bool, 67 max_flows i32,
    68 policy_set_fwaas_list list<string>, 70 mac_ip_learning_enable bool)
struct FloatingIpSandeshList(
    1 ip_addr string, 2 vrf_name string >VrfListReq, 3 installed string, 4 fixed_ip string,
    5 direction string, 6 port_map_enabled bool, 7 port_map list<SandeshPortMapping>)
struct SandeshPortMapping(1 protocol u16, 2 port u16, 3 nat_port u16)
struct ServiceVlanSandeshList(
    1 tag i16, 2 vrf_name string >VrfListReq, 3 ip_addr string, 6 ip6_addr string, 4 label i16,
    5 installed string, 7 v4_route_installed string, 8 v6_route_installed string)
struct VmIntfSgUuid(1 sg_uuid string >SgListReq)
struct StaticRouteSandesh(
    1 vrf_name string >VrfListReq, 2 ip_addr string, 3 prefix i32, 4 mac_addr string?,
    5 communities list<string>?, 6 label u32?)
struct AliasIpSandeshList(1 ip_addr string, 2 vrf_name string >VrfListReq, 3 installed string)
struct VmiTagData(
    1 name string, 2 id i32, 3 application_policy_set_list list<ApplicationPolicySetLink>)
struct ApplicationPolicySetLink(1 application_policy_set string)

response VnListResp(1 vn_list list<VnSandeshData>)
struct VnSandeshData(
    1 name string, 2 uuid string, 3 acl_uuid string >AclReq, 4 mirror_acl_uuid string >AclReq,
    5 mirror_cfg_acl_uuid string >AclReq, 6 vrf_name string >VrfListReq,
    7 ipam_data list<VnIpamData>, 8 ipam_host_routes list<VnIpamHostRoutes>,
    9 layer2_forwarding bool, 10 ipv4_forwarding bool, 11 admin_state bool, 12 vxlan_id i32,
    13 config_vxlan_id i32, 14 vn_id i32, 15 enable_rpf bool, 16 bridging bool,
    17 flood_unknown_unicast bool, 18 pbb_etree_enabled bool, 19 layer2_control_word bool,
    21 cfg_igmp_enable bool, 22 max_flows i32, 24 mac_ip_learning_enable bool,
    25 health_check_uuid string)
struct VnIpamData(
    1 ip_prefix string, 2 prefix_len i32, 3 gateway string, 4 ipam_name string,
    5 dhcp_enable string, 6 dns_server string, 7 dhcp_enable_v6 string)
struct VnIpamHostRoutes(1 ipam_name string, 2 host_routes list<string>)

response VrfListResp(1 vrf_list list<VrfSandeshData>)
struct VrfSandeshData(
    1 name string, 2 ucindex i32 >Inet4UcRouteReq, 3 mcindex i32 >Inet4McRouteReq,
    4 l2index i32 >Layer2RouteReq, 5 source string, 6 uc6index i32 >Inet6UcRouteReq,
    7 vn string >VnListReq, 8 table_label i32, 9 vxlan_id i32, 10 evpnindex i32 >EvpnRouteReq,
    11 brindex i32 >BridgeRouteReq, 12 mplsindex i32, 13 RD string, 14 mac_aging_time i32,
    15 layer2_control_word bool, 16 forwarding_vrf string, 17 hbf_rintf i32, 18 hbf_lintf i32)

response Inet4UcRouteResp(1 route_list list<RouteUcSandeshData>)
response Inet6UcRouteResp(1 route_list list<RouteUcSandeshData>)
struct RouteUcSandeshData(
    1 src_ip string, 2 src_plen i32, 3 src_vrf string >VrfListReq,
    4 path_list list<PathSandeshData>, 5 ipam_subnet_route bool?, 8 ipam_host_route bool?,
    6 proxy_arp bool?, 7 multicast bool, 9 intf_route_type string)
response Inet4McRouteResp(1 route_list list<RouteMcSandeshData>)
struct RouteMcSandeshData(1 src string, 2 grp string, 3 nh NhSandeshData)
response BridgeRouteResp(1 route_list list<RouteL2SandeshData>)
response Layer2RouteResp(1 route_list list<RouteL2SandeshData>)
struct RouteL2SandeshData(
    1 mac string, 2 src_vrf string >VrfListReq, 4 path_list list<PathSandeshData>)
response EvpnRouteResp(1 route_list list<RouteEvpnSandeshData>)
struct RouteEvpnSandeshData(
    1 mac string, 2 src_vrf string >VrfListReq, 3 ip_addr string,
    4 path_list list<PathSandeshData>)
struct PathSandeshData(
    1 nh NhSandeshData, 2 label i32 >MplsReq, 3 vxlan_id i32, 4 peer string,
    5 dest_vn_list list<string>, 6 unresolved string, 7 gw_ip string?, 8 vrf string?,
    10 sg_list list<i32>?, 11 supported_tunnel_type string, 12 active_tunnel_type string,
    13 stale bool?, 14 path_preference_data PathPreferenceSandeshData?, 15 info string?,
    16 active_label i32?, 17 flood_dhcp string?, 18 vm_name string?, 19 ecmp_suppressed bool?,
    20 ecmp_hashing_fields string?, 21 communities list<string>?, 22 peer_sequence_number u64?,
    23 etree_leaf bool, 24 layer2_control_word bool, 25 tag_list list<i32>?, 26 inactive bool,
    27 origin_vn string)
struct PathPreferenceSandeshData(
    1 sequence i32, 2 preference i32, 3 ecmp bool, 4 wait_for_traffic bool?,
    5 dependent_ip string?)

response NhListResp(1 nh_list list<NhSandeshData>)
struct NhSandeshData(
    1 type string, 2 ref_count i32, 3 valid string?, 4 policy string?, 5 sip string?, 6 dip string?,
    7 vrf string? >VrfListReq, 8 itf string? >ItfReq, 9 mac string?, 10 sport i32?, 11 dport i32?,
    12 mcast string?, 13 label i32?, 14 mc_list list<McastData>?, 15 vlan_tag i16?,
    16 tunnel_type string?, 17 local_ecmp string?, 21 nh_index i32, 24 vxlan_flag bool?,
    34 intf_flags i32, 25 flood_unknown_unicast bool?, 26 isid i32, 27 learning_enabled bool,
    28 etree_leaf bool, 29 layer2_control_word bool, 30 pbb_bmac string?, 31 crypt_all_traffic bool,
    32 crypt_path_available bool, 33 crypt_interface string)
struct McastData(
    1 type string, 2 sip string?, 3 dip string?, 4 label i32?, 5 itf string? >ItfReq,
    6 vlan_tag i16?)

response MplsResp(1 mpls_list list<MplsSandeshData>)
struct MplsSandeshData(1 label i32, 2 type string, 3 nh NhSandeshData)
response VxLanResp(1 vxlan_list list<VxLanSandeshData>)
struct VxLanSandeshData(1 vxlan_id i32, 2 nh NhSandeshData, 3 vrf_name string? >VrfListReq)
response VxLanConfigResp(1 vxlan_config_entries list<VxLanConfigEntry>)
struct VxLanConfigEntry(
    1 vxlan_id u32, 2 vn_uuid string, 3 vrf string >VrfListReq, 4 flood_unknown_unicast bool,
    5 active bool)

response SgListResp(1 sg_list list<SgSandeshData>)
struct SgSandeshData(
    1 ref_count i32, 2 sg_id i32, 3 sg_uuid string, 4 acl_uuid string >AclReq,
    5 egress_acl_uuid string >AclReq, 6 ingress_acl_uuid string >AclReq)
response AclResp(1 acl_list list<AclSandeshData>)
struct AclSandeshData(
    1 uuid string >AclReq, 2 dynamic_acl bool, 3 entries list<AclEntrySandeshData>, 4 name string)
struct AclEntrySandeshData(
    1 ace_id string, 2 rule_type string, 3 src string, 4 dst string,
    5 src_port_l list<SandeshRange>, 6 dst_port_l list<SandeshRange>,
    7 proto_l list<SandeshRange>, 8 action_l list<ActionStr>,
    9 src_type string, 10 dst_type string, 11 uuid string, 12 match_condition string?,
    13 ether_type string)
struct SandeshRange(1 min i32, 2 max i32)
struct ActionStr(1 action string)

response VmListResp(1 vm_list list<VmSandeshData>)
struct VmSandeshData(1 uuid string, 2 sg_uuid_list list<VmSgUuid>?, 3 drop_new_flows bool)
struct VmSgUuid(1 sg_uuid string >SgListReq)
response VrfAssignResp(1 vrf_assign_list list<VrfAssignSandeshData>)
struct VrfAssignSandeshData(
    1 type string, 2 vlan_tag u16, 3 itf string >ItfReq, 4 vrf string >VrfListReq)
response ServiceInstanceResp(1 service_instance_list list<ServiceInstanceSandeshData>)
struct ServiceInstanceSandeshData(
    1 uuid string, 2 service_type string, 3 virtualization_type string, 4 instance_id string,
    5 vmi_inside string >ItfReq, 6 vmi_outside string >ItfReq)
response HealthCheckSandeshResp(1 hc_list list<HealthCheckSandeshData>)
struct HealthCheckSandeshData(
    1 uuid string, 2 name string, 13 service_type string, 3 monitor_type string,
    4 http_method string, 5 url_path string, 6 expected_codes string, 7 delay u32,
    11 delay_usecs u64, 8 timeout u32, 12 timeout_usecs u64, 9 max_retries u32)
response BgpAsAServiceSandeshResp(1 bgp_as_a_service_list list<BgpAsAServiceSandeshList>)
struct BgpAsAServiceSandeshList(
    1 vm_bgp_peer_ip string, 2 vm_nat_source_port i32, 3 vmi_uuid string >ItfReq, 4 is_shared bool,
    5 health_check_configured bool, 6 health_check_uuid string)
response LinkLocalServiceResponse(1 service_list list<LinkLocalServiceData>)
struct LinkLocalServiceData(
    1 linklocal_service_name string, 2 linklocal_service_ip string,
    3 linklocal_service_port i32, 4 ipfabric_dns_name string, 5 ipfabric_ip list<string>,
    6 ipfabric_port i32)
response MirrorCfgVnInfoResp(1 vn_acl_info_l list<VnAclInfo>)
struct VnAclInfo(
    1 vn_name string, 2 vn_uuid string, 3 dyn_acl_uuid string, 4 num_of_entries i32)
response IntfMirrorCfgDisplayResp(1 imcfg_l list<IntfMirrorCfgSandesh>)
struct IntfMirrorCfgSandesh(1 handle string, 2 intf_uuid string?, 3 intf_name string?)
"""

_KERNEL = """
module kstate: what is in the kernel's tables
request KInterfaceReq(if_id i32): interfaces and their counters
request KRouteReq(vrf_id u32, family string): routes of a VRF
request KNHReq(nh_id i32): next hops
request KMplsReq(mpls_label i32): MPLS labels
request KFlowReq(flow_idx i32, show_evicted bool): flows
request NextKFlowReq(flow_handle string): the next of them
request KVxLanReq(vxlan_label i32): VXLAN network identifiers
request KVrfReq(vrf_idx i32): VRFs
request KVrfAssignReq(vif_index i32): rules that assign a VRF to packets of an interface
request KDropStatsReq: discarded packets by reason

response KInterfaceResp(1 if_list list<KInterfaceInfo>)
struct KInterfaceInfo(
    1 idx i32, 2 type string, 3 flags string, 4 vrf i32 >KRouteReq, 5 rid i32, 6 os_idx i32,
    7 mtu i32, 8 name string, 9 ibytes i64, 10 ipackets i64, 11 ierrors i64, 12 obytes i64,
    13 opackets i64, 14 oerrors i64, 15 ref_cnt i32, 16 mac string, 17 ip string, 18 mirror_id byte,
    19 speed i32, 20 duplexity i32, 21 qos_map_index i32, 22 core u64, 35 dev_ibytes u64,
    36 dev_ipackets u64, 37 dev_ierrors u64, 39 dev_obytes u64, 40 dev_opackets u64,
    41 dev_oerrors u64, 42 parent_vif_id i32, 43 vlan_id i16, 44 nh_id i16,
    45 cross_connect_id list<i32>, 46 bridge_id i32, 47 ovlan_id i32, 48 transport i16,
    49 src_mac string, 51 isid i32, 54 status string)
response KRouteResp(1 rt_list list<KRouteInfo>)
struct KRouteInfo(
    1 vrf_id i32, 2 family string, 3 prefix string, 4 prefix_len i32, 5 rid i16,
    6 label_flags string, 7 label i32, 8 nh_id i32 >KNHReq, 9 rtr_mac string, 10 replace_plen i32,
    11 index i32)
response KNHResp(1 nh_list list<KNHInfo>)
struct KNHInfo(
    1 id i32, 2 type string, 3 family string, 4 rid i32, 5 vrf i32 >KRouteReq, 6 flags string,
    7 ref_cnt i32, 8 encap_family string?, 9 encap_oif_id list<i32>?, 10 encap_len i32?,
    11 tun_sip string?, 12 tun_dip string?, 13 tun_sport i32?, 14 tun_dport i32?, 15 encap string?,
    16 component_nh list<KComponentNH>?)
struct KComponentNH(1 nh_id i32 >KNHReq, 2 label i32)
response KMplsResp(1 mpls_list list<KMplsInfo>)
struct KMplsInfo(1 label i32, 2 rid i16, 3 nhid i32 >KNHReq)
response KFlowResp(1 flow_list list<KFlowInfo>, 2 flow_handle string? >NextKFlowReq)
struct KFlowInfo(
    1 index i32, 2 rflow i32, 3 sip string, 4 sport i32, 5 dip string, 6 dport i32, 7 proto byte,
    8 vrf_id i32, 9 action string, 10 flags string, 11 d_vrf_id i32, 12 bytes i64, 13 pkts i64,
    18 nhid i32 >KNHReq, 20 tcp_flags string?, 21 drop_reason string?)
response KVxLanResp(1 vxlan_list list<KVxLanInfo>)
struct KVxLanInfo(1 vxlanid i32, 2 rid i16, 3 nhid i32 >KNHReq)
response KVrfResp(1 vrf_list list<KVrfInfo>)
struct KVrfInfo(1 rid i16, 2 vrf_idx i32, 3 hbf_lintf i32, 4 hbf_rintf i32)
response KVrfAssignResp(1 vrf_assign_list list<KVrfAssignInfo>)
struct KVrfAssignInfo(1 vif_index i32, 2 vlan_id i16, 3 vif_vrf i32, 4 rid i16, 5 nh_id i32)
response KDropStatsResp(
    1 ds_rid u16, 2 ds_discard u64, 3 ds_pull u64, 4 ds_invalid_if u64, 5 ds_arp_not_me u64,
    7 ds_invalid_arp u64, 8 ds_trap_no_if u64, 9 ds_nowhere_to_go u64,
    10 ds_flow_queue_limit_exceeded u64, 11 ds_flow_no_memory u64, 12 ds_flow_invalid_protocol u64,
    13 ds_flow_nat_no_rflow u64, 14 ds_flow_action_drop u64, 15 ds_flow_action_invalid u64,
    16 ds_flow_unusable u64, 17 ds_flow_table_full u64, 18 ds_interface_tx_discard u64,
    19 ds_interface_drop u64, 20 ds_duplicated u64, 21 ds_push u64, 22 ds_ttl_exceeded u64,
    23 ds_invalid_nh u64, 24 ds_invalid_label u64, 25 ds_invalid_protocol u64,
    26 ds_interface_rx_discard u64, 27 ds_invalid_mcast_source u64, 28 ds_head_alloc_fail u64,
    30 ds_pcow_fail u64, 32 ds_mcast_clone_fail u64, 34 ds_rewrite_fail u64, 35 ds_misc u64,
    36 ds_invalid_packet u64, 37 ds_cksum_err u64, 39 ds_no_fmd u64, 40 ds_cloned_original u64,
    41 ds_invalid_vnid u64, 42 ds_frag_err u64, 43 ds_invalid_source u64, 44 ds_mcast_df_bit u64,
    47 ds_l2_no_route u64, 48 ds_vlan_fwd_tx u64, 49 ds_vlan_fwd_enq u64, 51 ds_no_memory u64,
    52 ds_drop_new_flow u64, 53 ds_flow_evict u64)
"""

_CONTROLLER = """
module controller: sessions with control nodes
request AgentXmppConnectionStatusReq: sessions for routes and configuration
request AgentDnsXmppConnectionStatusReq: sessions for names
response AgentXmppConnectionStatus(1 peer list<AgentXmppData>)
struct AgentXmppData(
    1 controller_ip string, 2 state string, 3 peer_name string, 4 peer_address string,
    5 cfg_controller string?, 6 mcast_controller string?, 7 last_state string, 8 last_event string,
    9 last_state_at string, 10 flap_count u32, 11 flap_time string, 19 dscp u16,
    12 rx_proto_stats ControllerProtoStats, 13 tx_proto_stats ControllerProtoStats,
    14 xmpp_auth_type string, 15 sequence_number u64, 16 last_ready_time string)
struct ControllerProtoStats(1 open u32, 2 keepalive u32, 3 update u32, 4 close u32)
response AgentDnsXmppConnectionStatus(1 peer list<AgentXmppDnsData>)
struct AgentXmppDnsData(
    1 dns_controller_ip string, 2 state string, 3 peer_name string, 4 peer_address string,
    5 last_state string, 6 last_event string, 7 last_state_at string, 8 flap_count u32,
    9 flap_time string, 19 dscp u16, 10 rx_proto_stats ControllerProtoStats,
    11 tx_proto_stats ControllerProtoStats, 12 xmpp_auth_type string)

module ifmap_agent: the configuration as received
request ShowIFMapAgentReq(
    table_name string, node_sub_string string, link_type_sub_string string,
    link_node_sub_string string): objects and links
request ShowIFMapAgentStatsReq: how much was received
response ShowIFMapAgentResp(1 table_data list<string>)
response ShowIFMapAgentStatsResp(
    1 node_updates_processed u64, 2 node_deletes_processed u64, 3 link_updates_processed u64,
    4 link_deletes_processed u64, 5 node_update_parse_errors u64, 6 link_update_parse_errors u64,
    7 node_delete_parse_errors u64, 8 link_delete_parse_errors u64)

module stats: counters of the agent
request AgentStatsReq: ports plugged, packets trapped, flows, sessions
response IpcStatsResp(1 ipc_in_msgs i64, 2 ipc_out_msgs i64)
response PktTrapStatsResp(
    1 exceptions i64, 2 invalid_agent_hdr i64, 3 invalid_interface i64, 4 no_handler i64,
    5 pkt_dropped i64, 6 pkt_fragments_dropped i64, 7 pkt_invalid_mpls_hdr i64,
    8 pkt_invalid_ip_pkt i64, 9 pkt_drop_due_to_disable_tnl i64, 10 pkt_invalid_frm_tor i64,
    11 pkt_drop_due_to_decode_error i64, 12 pkt_drop_due_to_invalid_ethertype i64,
    13 pkt_drop_due_to_flow_trap i64)
response FlowStatsResp(
    1 flow_active u64, 2 flow_created u64, 3 flow_aged u64, 4 flow_drop_due_to_max_limit u64,
    5 flow_drop_due_to_linklocal_limit u64, 6 flow_max_system_flows u32, 7 flow_max_vm_flows u32)
response XmppStatsResp(1 xmpp_list list<XmppStatsInfo>)
struct XmppStatsInfo(
    1 ip string, 2 in_msgs u64, 3 out_msgs u64, 4 reconnect u16, 5 config_in_msgs u64)
response SandeshStatsResp(
    1 sandesh_in_msgs i64, 2 sandesh_out_msgs i64, 3 sandesh_http_sessions i16,
    4 sandesh_reconnects i16)
"""

_SERVICES = """
module services: packets that the agent itself answers
request IcmpInfo: ICMP
request Icmpv6Info: ICMPv6
request DhcpInfo: DHCP
request Dhcpv6Info: DHCPv6
request DnsInfo: DNS
request ArpInfo: ARP
request MetadataInfo: metadata
request ShowAllInfo: all of them
request InterfaceArpStatsReq(interface_index i32): ARP by interface
request InterfaceIcmpv6StatsReq(interface_index i32): ICMPv6 by interface
request VmVdnsListReq: names that virtual machines are known by
request ShowArpCache: addresses resolved in the underlay
request ShowGratuitousArpCache: addresses announced in the underlay

response PktStats(
    1 total_rcvd i32, 2 dhcp_rcvd i32, 3 arp_rcvd i32, 4 dns_rcvd i32, 5 icmp_rcvd i32,
    6 flow_rcvd i32, 7 dropped i32, 8 total_sent i32, 9 dhcp_sent i32, 10 arp_sent i32,
    11 dns_sent i32, 12 icmp_sent i32, 13 dhcp_q_threshold_exceeded i32,
    14 arp_q_threshold_exceeded i32, 15 dns_q_threshold_exceeded i32,
    16 icmp_q_threshold_exceeded i32, 17 flow_q_threshold_exceeded i32,
    18 mac_learning_msg_rcvd i32)
response DhcpStats(
    1 dhcp_discover i32, 2 dhcp_request i32, 3 dhcp_inform i32, 4 dhcp_decline i32,
    5 dhcp_other i32, 6 dhcp_errors i32, 7 offers_sent i32, 8 acks_sent i32, 9 nacks_sent i32,
    10 relay_request i32, 11 relay_response i32, 12 unknown_msg_drop i32,
    13 dhcp_disabled_drop i32, 14 incorrect_mac i32)
response Dhcpv6Stats(
    1 dhcp_solicit i32, 2 dhcp_advertise i32, 3 dhcp_request i32, 4 dhcp_confirm i32,
    5 dhcp_renew i32, 6 dhcp_rebind i32, 7 dhcp_reply i32, 8 dhcp_release i32, 9 dhcp_decline i32,
    10 dhcp_reconfigure i32, 11 information_request i32, 12 dhcp_error i32)
response ArpStats(
    1 arp_entries i32, 2 arp_requests i32, 3 arp_replies i32, 4 arp_gratuitous i32,
    5 arp_resolved i32, 6 arp_max_retries_exceeded i32, 7 arp_errors i32, 9 arp_invalid_packets i32,
    10 arp_invalid_interface i32, 11 arp_invalid_vrf i32, 12 arp_invalid_address i32,
    13 vm_arp_req i32, 14 vm_garp_req i32, 15 ipfabric_not_inst i32)
response DnsStats(
    7 dns_resolver list<string>, 8 dscp u16, 1 dns_requests i32, 2 dns_resolved i32,
    3 dns_retransmit_reqs i32, 4 dns_unsupported i32, 5 dns_failures i32, 6 dns_drops i32)
response IcmpStats(
    1 icmp_gw_ping i32, 2 icmp_gw_ping_err i32, 3 icmp_drop i32, 4 icmp_intf_not_inst i32,
    5 icmp_no_l3fwd i32)
response Icmpv6Stats(
    1 icmpv6_router_solicit i32, 2 icmpv6_router_advert i32, 3 icmpv6_ping_request i32,
    4 icmpv6_ping_response i32, 5 icmpv6_drop i32, 6 icmpv6_neighbor_solicit i32,
    7 icmpv6_neighbor_advert_solicited i32, 8 icmpv6_neighbor_advert_unsolicited i32,
    9 icmpv6_neighbor_solicited i32)
response MetadataResponse(
    1 metadata_server_port i32, 2 metadata_requests i32, 3 metadata_responses i32,
    4 metadata_proxy_sessions i32, 5 metadata_internal_errors i32)
response InterfaceArpStatsResponse(1 stats_list list<InterfaceArpStats>)
struct InterfaceArpStats(
    1 interface_index u32, 2 arp_requests u32, 3 arp_replies u32, 4 arp_resolved u32)
response InterfaceIcmpv6StatsResponse(1 stats_list list<InterfaceIcmpv6Stats>)
struct InterfaceIcmpv6Stats(
    1 interface_index u32, 2 icmpv6_router_solicit u32, 3 icmpv6_router_advert u32,
    4 icmpv6_ping_request u32, 5 icmpv6_ping_response u32, 6 icmpv6_neighbor_solicit u32,
    7 icmpv6_neighbor_advert_solicited u32, 8 icmpv6_neighbor_advert_unsolicited u32,
    9 icmpv6_neighbor_solicited i32)
response VmVdnsListResponse(1 rlist list<VmVdnsListEntry>)
struct VmVdnsListEntry(1 name string, 2 vm_interface_index u32)
response ArpCacheResp(1 arp_list list<ArpSandeshData>)
struct ArpSandeshData(
    1 ip string, 2 vrf string, 3 mac string, 4 state string, 5 interface_name string)
"""

_OBSERVATIONS = """
response VrouterAgentUVE(1 data VrouterAgent)
struct VrouterAgent(
    1 name string, 2 deleted bool?, 3 connected_networks list<string>?,
    4 interface_list list<string>?, 5 virtual_machine_list list<string>?,
    6 xmpp_peer_list list<AgentXmppPeer>?, 8 self_ip_list list<string>?, 9 build_info string?,
    11 error_intf_list list<string>?, 20 sandesh_http_port i32?, 24 tunnel_type string?,
    29 control_ip string?, 35 control_node_list_cfg list<string>?, 36 hostname_cfg string?,
    48 mode string?, 50 vn_count u32?, 51 platform string?)
struct AgentXmppPeer(1 ip string, 2 status bool, 3 setup_time string, 4 primary bool)
response UveVMInterfaceAgentTrace(1 data UveVMInterfaceAgent)
struct UveVMInterfaceAgent(
    1 name string, 2 deleted bool?, 3 ip_address string?, 4 virtual_network string,
    5 mac_address string?, 6 label u32?, 7 active bool?, 8 vm_name string, 9 gateway string?,
    11 uuid string?, 12 ip6_address string?, 19 vm_uuid string, 22 ip4_active bool?)
"""

AGENT = Schema(_OPERATIONAL, _KERNEL, _CONTROLLER, _SERVICES, _OBSERVATIONS, COMMON)
