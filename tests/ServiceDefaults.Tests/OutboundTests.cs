using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Platform.ServiceDefaults.Tests;

public sealed class OutboundTests
{
    [Theory]
    [InlineData("1.1.1.1", true)]
    [InlineData("93.184.216.34", true)]
    [InlineData("172.15.255.255", true)]
    [InlineData("172.32.0.1", true)]
    [InlineData("2606:4700::1111", true)]
    [InlineData("64:ff9b::101:101", true)]
    [InlineData("0.0.0.0", false)]
    [InlineData("10.1.2.3", false)]
    [InlineData("100.64.0.1", false)]
    [InlineData("127.0.0.1", false)]
    [InlineData("127.8.8.8", false)]
    [InlineData("169.254.169.254", false)]
    [InlineData("168.63.129.16", false)]
    [InlineData("172.16.0.1", false)]
    [InlineData("192.168.1.1", false)]
    [InlineData("198.18.0.1", false)]
    [InlineData("203.0.113.9", false)]
    [InlineData("224.0.0.1", false)]
    [InlineData("255.255.255.255", false)]
    [InlineData("::", false)]
    [InlineData("::1", false)]
    [InlineData("::ffff:127.0.0.1", false)]
    [InlineData("::ffff:169.254.169.254", false)]
    [InlineData("::ffff:1.1.1.1", true)]
    [InlineData("::127.0.0.1", false)]
    [InlineData("64:ff9b::7f00:1", false)]
    [InlineData("2002:7f00:1::", false)]
    [InlineData("2001::1", false)]
    [InlineData("2001:db8::1", false)]
    [InlineData("fe80::1", false)]
    [InlineData("fc00::1", false)]
    [InlineData("fd00:ec2::254", false)]
    [InlineData("ff02::1", false)]
    public void Public_means_reachable_on_the_internet(string address, bool allowed) => Assert.Equal(allowed, Policy("public").Allows(IPAddress.Parse(address)));

    [Theory]
    [InlineData("10.0.0.0/8", "10.1.2.3", true)]
    [InlineData("10.0.0.0/8", "::ffff:10.1.2.3", true)]
    [InlineData("10.0.0.0/8", "11.0.0.1", false)]
    [InlineData("10.0.0.0/8", "1.1.1.1", false)]
    [InlineData("10.0.0.7", "10.0.0.7", true)]
    [InlineData("10.0.0.7", "10.0.0.8", false)]
    [InlineData("::1/128", "::1", true)]
    [InlineData("fd00::/8", "fd12::1", true)]
    public void Networks_of_the_setting_are_allowed(string network, string address, bool allowed) => Assert.Equal(allowed, Policy(network).Allows(IPAddress.Parse(address)));

    [Fact]
    public void A_network_that_is_none_stops_the_start() =>
        Assert.Contains("OUTBOUND_ALLOWED_NETWORKS contains \"privat\"", Assert.Throws<SettingsException>(() => Policy("privat")).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("localhost")]
    public async Task A_refusal_names_address_setting_and_remedy(string host)
    {
        var refused = await Assert.ThrowsAsync<OutboundRefusedException>(() => Policy("public").ConnectAsync(host, 9, TestContext.Current.CancellationToken));

        Assert.Contains("127.0.0.1", refused.Message, StringComparison.Ordinal);
        Assert.Contains("OUTBOUND_ALLOWED_NETWORKS", refused.Message, StringComparison.Ordinal);
        Assert.Contains("add its network", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_allowed_target_is_connected_to()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();

        await using var stream = await Policy("127.0.0.0/8").ConnectAsync("localhost", ((IPEndPoint)listener.LocalEndpoint).Port, TestContext.Current.CancellationToken);
        using var accepted = await listener.AcceptTcpClientAsync(TestContext.Current.CancellationToken);

        Assert.True(accepted.Connected);
    }

    [Fact]
    public async Task An_outbound_client_carries_nothing_of_ours_and_follows_nobody()
    {
        await using var target = await TestService.StartAsync(app =>
        {
            app.MapGet("/echo", (HttpContext context) => string.Join(',', context.Request.Headers.Keys.Order(StringComparer.OrdinalIgnoreCase)));
            app.MapGet("/away", () => Results.Redirect("http://169.254.169.254/"));
            app.MapGet("/big", () => new string('x', 5_000));
        });
        await using var service = await TestService.StartAsync(_ => { }, builder => builder.AddOutboundHttpClient("hooks"), new() { ["OUTBOUND_ALLOWED_NETWORKS"] = "127.0.0.0/8" });
        using var client = service.Services.GetRequiredService<IHttpClientFactory>().CreateClient("hooks");
        using var correlation = Correlation.Use("c-1");
        using var activity = new System.Diagnostics.Activity("work").Start();

        var headers = await client.GetStringAsync(new Uri(target.Address, "/echo"), TestContext.Current.CancellationToken);
        using var away = await client.GetAsync(new Uri(target.Address, "/away"), TestContext.Current.CancellationToken);
        using var big = await client.GetAsync(new Uri(target.Address, "/big"), HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);

        Assert.Equal("Host", headers);
        Assert.Equal(HttpStatusCode.Found, away.StatusCode);
        Assert.Equal((new string('x', 100), true), await big.Content.ReadAtMostAsync(100, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task An_outbound_client_refuses_what_the_setting_does_not_allow()
    {
        await using var target = await TestService.StartAsync(_ => { });
        await using var service = await TestService.StartAsync(_ => { }, builder => builder.AddOutboundHttpClient("hooks"));
        using var client = service.Services.GetRequiredService<IHttpClientFactory>().CreateClient("hooks");

        var error = await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync(target.Address, TestContext.Current.CancellationToken));

        Assert.IsType<OutboundRefusedException>(error.InnerException);
    }

    private static OutboundPolicy Policy(string networks) => new(new OutboundOptions { AllowedNetworks = networks.Split(',') });
}
