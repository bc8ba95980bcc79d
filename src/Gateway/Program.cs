using Platform.Gateway;
using Platform.Gateway.Denials;
using Platform.Gateway.Edge;
using Platform.Gateway.Keys;
using Platform.Gateway.OpenApi;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);

builder.AddServiceDefaults();
builder.AddPostgres("identity");
builder.AddMessaging("gateway");
builder.AddRedisClient("cache");

builder.AddClientAddress();
builder.AddKeys();
builder.AddRateLimit();
builder.AddDenials();
builder.AddRoutes();
builder.AddApiDocument();

var app = builder.Build();

app.UseClientAddress();
app.UseSecurityHeaders();
app.MapDefaultEndpoints(new PublicEdge("/internal/metrics", Identified: identified => identified.UseDenialAudit().UseRateLimit()));

app.MapKeys();
app.MapDeadLetters("gateway");
app.MapApiDocument();
app.MapRoutes();

app.Run();
